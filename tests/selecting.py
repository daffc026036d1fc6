"""Which tests run on which server: what is left out on greenlets and on waitress, and why."""

from __future__ import annotations

ON_EVERY_TRANSPORT = {"test_hijack.py", "test_proxy_protocol.py", "test_sequences.py"}
"""The files whose tests greenlets run over each transport. The others run over TCP there: how bytes
get through a socket of gevent's does not differ by what they are."""

WITH_WAITRESS = {
    "test_bad_peers.py",
    "test_close_reasons.py",
    "test_disconnect.py",
    "test_hijack.py",
    "test_matrix.py",
    "test_proxy_protocol.py",
    "test_sequences.py",
}
"""The files whose tests run on waitress too: those of what it shares with the other servers."""

READS_BODIES_FIRST = "waitress has read the whole body, and answered 100, before it calls the view"
HAS_NO_DEADLINES = "waitress's sockets do not block, and have neither deadlines nor minimum rates"
NOT_ON_WAITRESS = {
    "test_a_body_that_came_in_part": HAS_NO_DEADLINES,
    "test_a_deadline_that_is_kept": HAS_NO_DEADLINES,
    "test_deadlines_of_the_view_before": HAS_NO_DEADLINES,
    "test_body_too_slow": HAS_NO_DEADLINES,
    "test_read_deadline": HAS_NO_DEADLINES,
    "test_slow_reader": HAS_NO_DEADLINES,
    "test_write_deadline": HAS_NO_DEADLINES,
    "test_expect_continue_before_no_content": READS_BODIES_FIRST,
    "test_expect_continue_is_not_answered": READS_BODIES_FIRST,
    "test_expect_continue_that_nobody_awaits": READS_BODIES_FIRST,
    "test_expect_continue_that_nobody_reads": READS_BODIES_FIRST,
    "test_long_unread_body": READS_BODIES_FIRST,
    "test_unread_chunked_body": READS_BODIES_FIRST,
    "test_while_another_thread_reads_the_body": READS_BODIES_FIRST,
}
"""Their tests that do not, and why."""


def is_left_out(item):
    """Tell whether a test is not run with its parameters."""
    params = item.callspec.params if hasattr(item, "callspec") else {}
    transport, values = params.get("transport", "tcp"), {str(each) for each in params.values()}
    file = item.path.name
    is_over_tls = transport == "tls" or (item.cls is not None and item.cls.__name__ == "TestTLS")
    if "waitress" in values and (is_over_tls or file not in WITH_WAITRESS):
        return True
    if transport == "tcp":
        return False
    has_greenlets = "gevent" in values and file not in ON_EVERY_TRANSPORT
    return has_greenlets or not values.isdisjoint({"gevent_pywsgi", "pywsgi"})


def reason_to_skip(item):
    """Return why a test is skipped with its parameters; None where it is not."""
    if hasattr(item, "callspec") and "waitress" in item.callspec.params.values():
        return NOT_ON_WAITRESS.get(item.originalname)
    return None
