"""What slow or broken peers do to a server: each attack is a generator of what it sends.

It is asked once each second, after its connection was made.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import select
import threading
from typing import TYPE_CHECKING

from client import REQUEST
from slow_tls import Client

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from client import Endpoint

    Attack = Callable[[socket.socket, Path | None], Iterator[bytes]]

ATTACKERS = 40
PAUSE = 1.0
_TIMEOUT = 30.0
_LONG = b"GET /long HTTP/1.1\r\nHost: benchmark\r\n\r\n"
_UPLOAD = b"POST /upload HTTP/1.1\r\nHost: benchmark\r\n"
_NEVER_ENDING = _UPLOAD + b"Content-Length: 100000\r\n\r\n"
_HALF = 2


def _then(first: bytes, always: bytes = b"") -> Attack:
    """Send ``first``, and ``always`` in each second from then on."""

    def attack(_sock: socket.socket, _certificate: Path | None) -> Iterator[bytes]:
        yield first
        while True:
            yield always

    return attack


def _slow_reader(sock: socket.socket, _certificate: Path | None) -> Iterator[bytes]:
    yield _LONG
    while True:
        sock.recv(1024)
        yield b""


def _half_a_hello(sock: socket.socket, certificate: Path | None) -> Iterator[bytes]:
    hello = Client(sock, certificate).hello()
    yield hello[: len(hello) // _HALF]
    while True:
        yield b""


def _partial_record(sock: socket.socket, certificate: Path | None) -> Iterator[bytes]:
    client = Client(sock, certificate)
    client.handshake()
    record = client.record(REQUEST)
    yield record[: len(record) // _HALF]
    while True:
        yield b""


def _key_updates(sock: socket.socket, certificate: Path | None) -> Iterator[bytes]:
    """Make a request, and keep the connection busy with what is none."""
    client = Client(sock, certificate)
    client.handshake()
    yield client.record(REQUEST)
    updates = client.key_updates(sent=1)
    while True:
        yield updates.next()


KEY_UPDATE = "TLS KeyUpdate"
PLAIN_ATTACKS: dict[str, Attack] = {
    "one byte": _then(b"G"),
    "dribbled head": _then(b"GET / HTTP/1.1\r\nHost: benchmark\r\nX-Slow: ", b"a"),
    "extra CRLF": _then(_UPLOAD + b"Content-Length: 1\r\n\r\nx\r\n", b"\r\n"),
    "slow body": _then(_NEVER_ENDING, b"a"),
    "silent body": _then(_NEVER_ENDING),
    "slow chunks": _then(_UPLOAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    "slow reader": _slow_reader,
    "no reader": _then(_LONG),
}
TLS_ATTACKS: dict[str, Attack] = {
    "half a TLS hello": _half_a_hello,
    "partial record": _partial_record,
    KEY_UPDATE: _key_updates,
}


def impossible(name: str) -> str | None:
    """Say why an attack cannot be made here, if so."""
    if name == KEY_UPDATE and importlib.util.find_spec("cryptography") is None:
        return f"{name} is left out: Python cannot make one without the package cryptography."
    return None


@contextlib.contextmanager
def attacked(name: str, endpoint: Endpoint) -> Iterator[None]:
    """Have a server attacked during the block, on as many connections as there are attackers."""
    attack = (PLAIN_ATTACKS | TLS_ATTACKS)[name]
    over = threading.Event()
    threads = [
        threading.Thread(target=_repeat, args=(attack, endpoint, over), daemon=True)
        for _ in range(ATTACKERS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()


def _repeat(attack: Attack, endpoint: Endpoint, over: threading.Event) -> None:
    """Attack, and begin again on a new connection when the server has closed this one."""
    raw = dataclasses.replace(endpoint, certificate=None)
    while not over.is_set():
        with contextlib.suppress(OSError), raw.connect(_TIMEOUT) as sock:
            for data in attack(sock, endpoint.certificate):
                sock.sendall(data)
                if over.wait(PAUSE) or _is_over(sock):
                    break
        over.wait(PAUSE)


def _is_over(sock: socket.socket) -> bool:
    """Say whether the server has closed, whatever is unread before its end."""
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    return bool(poll.poll(0))
