"""A crowd of WebSocket clients in one asyncio loop, with a framing of its own.

It checks everything that it is sent: the ``Sec-WebSocket-Accept``, each echo, the close.  What is
not as it should be is kept as an error of that client.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from itertools import cycle
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from client import Endpoint

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_TEXT, _CLOSE = 1, 8
_NORMAL = (1000).to_bytes(2, "big")
_CONNECTING = 256
"""How many connects are under way at once: well below any backlog."""


class WebSocket(asyncio.Protocol):
    """One client; ``waiting`` is done when what it was told to wait for is there, or is not."""

    transport: asyncio.Transport

    def __init__(self, path: str) -> None:
        self.waiting = asyncio.get_running_loop().create_future()
        self.upgraded = False
        self.error: str | None = None
        self._key = base64.b64encode(secrets.token_bytes(16)).decode()
        self._path = path
        self._buffer = b""
        self._expected = b""

    @property
    def usable(self) -> bool:
        """Whether it has been upgraded and nothing has gone wrong since."""
        return self.upgraded and self.error is None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self.transport = transport
        lines = [f"GET {self._path} HTTP/1.1", "Host: benchmark", "Upgrade: websocket"]
        lines += ["Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        lines += [f"Sec-WebSocket-Key: {self._key}", "", ""]
        transport.write("\r\n".join(lines).encode())

    def say(self, text: bytes) -> None:
        """Send a message, and wait for its echo."""
        self._send(_TEXT, text)

    def close(self) -> None:
        """Send a close frame, and wait for the server's."""
        self._send(_CLOSE, _NORMAL)

    def _send(self, opcode: int, payload: bytes) -> None:
        self.waiting = asyncio.get_running_loop().create_future()
        if self.transport.is_closing():
            self._done("the server had closed before")
            return
        self._expected = bytes([0x80 | opcode, len(payload)]) + payload
        mask = secrets.token_bytes(4)
        masked = bytes(byte ^ key for byte, key in zip(payload, cycle(mask), strict=False))
        self.transport.write(bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + masked)

    def data_received(self, data: bytes) -> None:
        """Take the head of the answer, then frames."""
        self._buffer += data
        if not self.upgraded:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if end:
                self._buffer = rest
                self._upgrade(head.decode("latin-1"))
        elif len(self._buffer) >= len(self._expected):
            right = self._buffer == self._expected
            self._done(None if right else f"another frame: {self._buffer[:60]!r}")
            self._buffer = b""

    def _upgrade(self, head: str) -> None:
        status, *lines = head.split("\r\n")
        fields = {
            name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)
        }
        digest = hashlib.sha1((self._key + _GUID).encode(), usedforsecurity=False).digest()
        if not status.startswith("HTTP/1.1 101 "):
            self._done(status)
        elif fields.get("sec-websocket-accept") != base64.b64encode(digest).decode():
            self._done("a wrong Sec-WebSocket-Accept")
        else:
            self.upgraded = True
            self._done(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that it ended, if something was still to come."""
        if not self.waiting.done():
            self._done(f"the connection ended ({exc})" if exc else "the connection ended")

    def _done(self, error: str | None) -> None:
        if error is not None:
            self.error = self.error or error
        if not self.waiting.done():
            self.waiting.set_result(None)


class Crowd:
    """The clients of one measurement."""

    def __init__(self, endpoint: Endpoint, path: str) -> None:
        self._endpoint = endpoint
        self._path = path
        self.members: list[WebSocket] = []

    @property
    def usable(self) -> list[WebSocket]:
        """Those that have been upgraded and to whom nothing has happened."""
        return [member for member in self.members if member.usable]

    async def connect(self, count: int, seconds: float) -> None:
        """Open ``count`` connections, each asking for its upgrade as soon as it is there.

        Raises:
            TimeoutError: they were not open in time.
            OSError: one was refused.

        """
        free = asyncio.Semaphore(_CONNECTING)
        loop = asyncio.get_running_loop()
        host, port = self._endpoint.host, self._endpoint.port

        async def one() -> None:
            async with free:
                _, member = await loop.create_connection(lambda: WebSocket(self._path), host, port)
                self.members.append(member)

        async with asyncio.timeout(seconds):
            await asyncio.gather(*(one() for _ in range(count)))

    async def upgraded(self, seconds: float) -> int:
        """Wait until all are upgraded, or until the time is over; say how many are."""
        await _all(self.members, seconds)
        return sum(member.upgraded for member in self.members)

    async def echo(self, number: int, seconds: float) -> int:
        """Have all that are upgraded send a message at once; say how many got its echo in time."""
        members = self.usable
        return await self._each(
            members, lambda index, member: member.say(b"round %d, %d" % (number, index)), seconds
        )

    async def close(self, seconds: float) -> int:
        """Have all that are upgraded close; say how many got the server's close frame in time."""
        return await self._each(self.usable, lambda _, member: member.close(), seconds)

    async def _each(
        self,
        members: list[WebSocket],
        act: Callable[[int, WebSocket], None],
        seconds: float,
    ) -> int:
        for index, member in enumerate(members):
            act(index, member)
        await _all(members, seconds)
        return sum(member.waiting.done() and member.usable for member in members)

    def errors(self) -> list[str]:
        """List what went wrong, each kind once, with how often it did."""
        found = [member.error for member in self.members if member.error is not None]
        return [f"{found.count(error)} x {error}" for error in dict.fromkeys(found)]

    def leave(self) -> None:
        """Close every connection as it stands."""
        for member in self.members:
            member.transport.abort()


async def _all(members: Iterable[WebSocket], seconds: float) -> None:
    waiting = [member.waiting for member in members if not member.waiting.done()]
    if waiting:
        await asyncio.wait(waiting, timeout=seconds)
