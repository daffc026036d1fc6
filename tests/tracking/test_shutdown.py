"""What is left when a server stops: owners are told, have their moment, and then it is the end."""

from __future__ import annotations

import contextlib
import signal
from collections import Counter

import pytest
from servers import EACH_SERVER_ONCE, wait_for

pytestmark = pytest.mark.slow

MANY = 20


@pytest.mark.parametrize(("name", "transport"), EACH_SERVER_ONCE)
def test_owners_at_a_stop(run_server, name, transport):
    """Handlers are cancelled, told before or not; a thread that reads finds the end."""
    options = () if name == "werkzeug" else ("--graceful-timeout", "2")
    with (
        run_server(name, transport, *options, app="stopping:app") as server,
        contextlib.ExitStack() as stack,
    ):
        server.mark()
        paths = [*["/stay", "/guest"] * MANY, "/thread"]
        *handled, reading = [stack.enter_context(server.hand_over(path)) for path in paths]
        server.stop(signal.SIGINT if name == "werkzeug" else signal.SIGTERM)
        assert {client.rest() for client in handled} == {b"CANCELLED\n"}
        assert reading.at_eof()
        assert server.sequences() == ["NAHC"] * (2 * MANY + 1)
        assert all(each["usable"] for each in server.closed())
        reasons = Counter(each["reason"] for each in server.closed())
        # A guest leaves by itself; nobody's client has left.
        assert reasons == {"APP": MANY, "SHUTDOWN": MANY + 1}
        assert "Traceback" not in server.log.read_text()


def test_a_hook_that_is_running(run_server):
    """The development server's process does not end amid a hook."""
    env = {"STOPPING_HOOK_SECONDS": "1"}
    with run_server("werkzeug", "tcp", app="stopping:app", env=env) as server:

        def count(what):
            return sum(each.get("hook") == what for each in server.events())

        wait_for(lambda: count("begun") == count("ended") > 0, "the hooks of others")
        before = count("begun")
        server.connect().close()
        wait_for(lambda: count("begun") > before, "the hook to begin")
        server.stop(signal.SIGINT)
        assert count("ended") == count("begun")
