"""Which test file tests which module: the one of its name, or the one that the table names."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
PACKAGE = HERE.parent / "flask_rawsocket"
MODULES = sorted(
    str(path.relative_to(PACKAGE).with_suffix(""))
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
)

ELSEWHERE = {
    "_asyncio/served": "asyncio_/test_event_loop.py",
    "_connection/asking": "test_hijack.py",
    "_body_errors": "test_framing.py",
    "_conditions": "test_peer.py",
    "_connection/connection": "test_sequences.py",
    "_connection/native": "pywsgi/test_server.py",
    "_connection/multiplexed": "test_http2.py",
    "_connection/proxy_header": "sockets/test_proxy_protocol.py",
    "_connection/life": "tracking/test_walk.py",
    "_connection/liveness": "tracking/test_watcher.py",
    "_connection/steering": "test_disconnect.py",
    "_gevent/accepting": "workers/test_gevent.py",
    "_gevent/listener": "test_sequences.py",
    "_gevent/loop": "streams/test_stream.py",
    "_gevent/orphan": "gevent_/test_sockets.py",
    "_gevent/tls": "test_hijack.py",
    "_gevent/waiting": "gevent_/test_sockets.py",
    "_sockets/movable": "sockets/test_plain.py",
    "_sockets/patched": "workers/test_patched.py",
    "_sockets/request_file": "test_hijack.py",
    "_sockets/session": "sockets/test_tls.py",
    "_sockets/stopping": "serving/test_server.py",
    "_sockets/by_kernel": "sockets/test_rates.py",
    "_sockets/close_notify": "sockets/test_tls.py",
    "_sockets/handshake": "test_close_reasons.py",
    "_sockets/calls": "connection/test_hijacked.py",
    "_sockets/deadlines": "sockets/test_tracked.py",
    "_sockets/ticking": "sockets/test_tls.py",
    "_sockets/tls_context": "sockets/test_tls.py",
    "_sockets/goodbye": "test_ends.py",
    "_sockets/last_accepts": "workers/test_queue.py",
    "_sockets/duties": "sockets/test_plain.py",
    "_tracking/forgotten": "sockets/test_plain.py",
    "_tracking/hangups": "tracking/test_watcher.py",
    "_tracking/settings": "test_extension.py",
    "_tracking/states": "connection/test_state.py",
    "_waitress/accepting": "waitress/test_server.py",
    "_waitress/application": "waitress/test_server.py",
    "_waitress/channel": "test_sequences.py",
    "_waitress/closing": "test_close_reasons.py",
    "_waitress/exchange": "test_hijack.py",
    "_waitress/parser": "test_hijack.py",
    "_waitress/stopping": "waitress/test_server.py",
    "_waitress/task": "test_hijack.py",
    "errors": "test_exports.py",
    "foreign/_closing": "foreign/test_connections.py",
    "foreign/_keeper": "foreign/test_connections.py",
    "foreign/_requests": "foreign/test_connections.py",
    "globals": "test_extension.py",
    "metrics/_dead": "metrics/test_prometheus.py",
    "metrics/_table": "metrics/test_prometheus.py",
    "pywsgi/_exchange": "test_framing.py",
    "pywsgi/_failures": "pywsgi/test_server.py",
    "pywsgi/_handler": "pywsgi/test_server.py",
    "serving/_application": "serving/test_server.py",
    "serving/_body": "test_hijack.py",
    "serving/_exchange": "test_hijack.py",
    "serving/_handler": "serving/test_server.py",
    "sockinfo/_congestion": "sockinfo/test_linux.py",
    "sockinfo/_enums": "sockinfo/test_tcpinfo.py",
    "sockinfo/_errno": "sockinfo/test_linux.py",
    "sockinfo/_place": "sockinfo/test_options.py",
    "sockinfo/_systems/bsd": "sockinfo/test_other_systems.py",
    "sockinfo/_systems/darwin": "sockinfo/test_other_systems.py",
    "sockinfo/_systems/dead_peer": "sockinfo/test_options.py",
    "sockinfo/_systems/fallback": "sockinfo/test_other_systems.py",
    "sockinfo/_systems/linux_abort": "test_ends.py",
    "sockinfo/_systems/linux_congestion": "sockinfo/test_linux.py",
    "sockinfo/_systems/linux_dead_peer": "sockinfo/test_options.py",
    "sockinfo/_systems/linux_numbers": "sockinfo/test_peer.py",
    "sockinfo/_systems/linux_peer": "sockinfo/test_peer.py",
    "sockinfo/_systems/posix": "sockinfo/test_other_systems.py",
    "sockinfo/_systems/pristine_select": "sockinfo/test_status.py",
    "sockinfo/_systems/windows": "sockinfo/test_other_systems.py",
    "sockinfo/_tcp_info/field": "sockinfo/test_tcpinfo.py",
    "sockinfo/_tcp_info/fields_linux": "sockinfo/test_tcpinfo.py",
    "sockinfo/_tcp_info/fields_other": "sockinfo/test_other_systems.py",
    "sockinfo/_tcp_info/item": "sockinfo/test_tcpinfo.py",
    "sockinfo/_tcp_info/layout_bsd": "sockinfo/test_other_systems.py",
    "sockinfo/_tcp_info/layout_darwin": "sockinfo/test_other_systems.py",
    "sockinfo/_tcp_info/layout_linux": "sockinfo/test_tcpinfo.py",
    "sockinfo/_tcp_info/layout_windows": "sockinfo/test_other_systems.py",
    "sockinfo/_tcp_info/table": "sockinfo/test_other_systems.py",
    "sockinfo/_tcp_info/tcps": "sockinfo/test_other_systems.py",
    "sockinfo/_tcp_info/value": "sockinfo/test_tcpinfo.py",
    "sockinfo/_values": "sockinfo/test_peer.py",
    "streams/_assembler": "streams/test_websocket.py",
    "streams/_broker": "streams/test_group.py",
    "streams/_close_codes": "streams/test_websocket.py",
    "streams/_end": "streams/test_wire.py",
    "streams/_handshake": "streams/test_websocket.py",
    "streams/_head": "streams/test_response.py",
    "streams/_idle": "streams/test_hostile.py",
    "streams/_in_thread": "streams/test_response.py",
    "streams/_inbox": "streams/test_hostile.py",
    "streams/_live": "streams/test_stream.py",
    "streams/_message": "streams/test_group.py",
    "streams/_outlet": "streams/test_backpressure.py",
    "streams/_queue": "streams/test_group.py",
    "streams/_room": "streams/test_group.py",
    "streams/_writers": "streams/test_held.py",
    "streams/face": "streams/test_response.py",
    "testing/_exchange": "testing/test_client.py",
    "testing/_pair": "testing/test_client.py",
    "testing/_peer": "testing/test_server.py",
    "testing/_running": "testing/test_client.py",
    "testing/_socket_client": "testing/test_server.py",
    "testing/_wire": "testing/test_server.py",
    "waitress": "waitress/test_server.py",
    "workers/_application": "workers/test_common.py",
    "workers/_body": "test_framing.py",
    "workers/_exchange": "test_hijack.py",
    "workers/_failures": "workers/test_common.py",
    "workers/_greenlet_http2": "test_http2.py",
    "workers/_greenlet_parser": "test_sequences.py",
    "workers/_greenlets": "workers/test_gevent.py",
    "workers/_http2": "test_http2.py",
    "workers/_http2_exchange": "test_http2.py",
    "workers/_http2_streams": "test_http2_ends.py",
    "workers/_leaving": "workers/test_sending.py",
    "workers/_listeners": "workers/test_queue.py",
    "workers/_outgoing": "workers/test_sending.py",
    "workers/_closing": "workers/test_gthread.py",
    "workers/_polling": "workers/test_gthread.py",
    "workers/_seams": "workers/test_common.py",
    "workers/_proxy": "test_proxy_protocol.py",
    "workers/_reasons": "test_close_reasons.py",
    "workers/_tconn": "workers/test_gthread.py",
}
"""The modules without a test file of their name, and the file that tests each of them."""


def mirrored(module):
    """Give the path of the test file of a module's name, relative to `tests`."""
    *packages, name = module.split("/")
    # A folder of the tests' path that is called `asyncio` would look like the standard library's.
    # Likewise one called `gevent`.
    taken = {"_asyncio": "asyncio_", "_gevent": "gevent_"}
    folders = [taken.get(each, each.lstrip("_")) for each in packages]
    # The systems and the layouts of `sockinfo` are tested beside it.
    return "/".join([*folders[:1], f"test_{name.lstrip('_')}.py"])


@pytest.mark.parametrize("module", MODULES)
def test_every_module_is_tested(module):
    """It has a test file of its name, or the table says where it is tested; not both."""
    has_its_own = (HERE / mirrored(module)).exists()
    assert has_its_own != (module in ELSEWHERE), mirrored(module)


@pytest.mark.parametrize("module", ELSEWHERE)
def test_every_entry_is_true(module):
    """The table names modules and files that exist."""
    assert module in MODULES
    assert (HERE / ELSEWHERE[module]).exists()
