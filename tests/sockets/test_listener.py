"""The listener: what it reads of a connection when it accepts it; no server."""

from __future__ import annotations

import socket

import pytest
from accepting import dial, unix_listener

from flask_rawsocket._sockets.listener import Listener


def test_addresses_are_read_at_accept(tracker, stack, tmp_path):
    """Peer and own address are there after a reset; a wildcard listener asks for its own."""
    sock = stack.enter_context(socket.create_server(("0.0.0.0", 0)))
    listener = Listener(sock, tracker)
    port = sock.getsockname()[1]
    client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
    name = client.getsockname()
    accepted, address = listener.accept()
    stack.enter_context(accepted)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    connection = accepted.connection
    assert address == connection.remote_address == name
    assert connection.local_address == ("127.0.0.1", port)
    _, accepted = dial(stack, unix_listener(tracker, stack, tmp_path / "s"))
    assert accepted.connection.local_address == str(tmp_path / "s")


def test_ipv6(tracker, stack):
    """An IPv6 peer's key has brackets."""
    sock = stack.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6))
    client = stack.enter_context(socket.create_connection(sock.getsockname()[:2]))
    accepted, _ = Listener(sock, tracker).accept()
    stack.enter_context(accepted)
    assert accepted.connection.key == f"[::1]:{client.getsockname()[1]}"


@pytest.mark.parametrize("wanted", [True, False, None])
def test_the_address_of_a_unix_peer(tracker, stack, tmp_path, wanted):
    """It is the override or empty, never the path that the peer chose; the key is the override.

    Nobody wants the override where no application has set RawSocket up.
    """
    if wanted is not None:
        tracker.settings.unix_remote_addr = wanted
    listener = unix_listener(tracker, stack, tmp_path / "s")
    client = stack.enter_context(socket.socket(socket.AF_UNIX))
    client.bind(str(tmp_path / ";uid=0;"))
    client.connect(str(tmp_path / "s"))
    sock, address = listener.accept()
    stack.enter_context(sock)
    assert address == (sock.connection.key if wanted else "")
    assert sock.connection.key.startswith("@")
    assert sock.connection.remote_address == str(tmp_path / ";uid=0;")
