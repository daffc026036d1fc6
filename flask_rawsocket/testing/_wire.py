"""HTTP/1.1 as a client has it: a request onto the wire, and the response to it off the wire."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING, Any

from werkzeug.datastructures import EnvironHeaders
from werkzeug.wsgi import get_input_stream

from .._wsgi import close
from ._peer import PeerFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from wsgiref.types import WSGIEnvironment

    from ._peer import Peer

    Head = tuple[str, list[tuple[str, str]]]

__all__ = ["NonEmpty", "read_response", "request_bytes"]


def request_bytes(environ: WSGIEnvironment) -> bytes:
    """Return the request that `environ` describes, its body included.

    Args:
        environ: one that ``werkzeug.test.EnvironBuilder`` has made.
    """
    target = environ["REQUEST_URI"] or "/"
    lines = [f"{environ['REQUEST_METHOD']} {target} HTTP/1.1"]
    headers = list(EnvironHeaders(environ))
    names = {name.lower() for name, _ in headers}
    body = get_input_stream(environ).read()
    if body and "content-length" not in names:
        headers.append(("Content-Length", str(len(body))))
    if "host" not in names:
        headers.insert(0, ("Host", "localhost"))
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + bytes(body)


def read_response(
    peer: Peer, method: str, done: Callable[[], object] = bool
) -> tuple[Head, Iterable[bytes]]:
    """Read a response's head, and its body too if that has a Content-Length.

    Args:
        peer: which end reads.
        method: that of the request.
        done: called when the body has been read.

    Returns:
        The head, and the body: one that is streamed is read as it is iterated.

    Raises:
        ConnectionError: the connection has ended before the head, or is reset.
    """
    response = http.client.HTTPResponse(_Readable(peer), method=method)  # type: ignore[arg-type]
    response.begin()
    head = f"{response.status} {response.reason}", response.getheaders()
    if response.length is None or response.chunked:
        return head, _parts(response, done)
    body = response.read()
    done()
    return head, [body]


class NonEmpty:
    """The parts of a body but for empty ones.

    Werkzeug's client asks for a first part before it returns; a stream that has none yet gives it
    an empty one, which is not the test's business.
    """

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = parts
        self._iterator = iter(parts)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        while not (part := next(self._iterator)):
            pass
        return part

    def close(self) -> None:
        close(self._parts)


def _parts(response: http.client.HTTPResponse, done: Callable[[], object]) -> Iterator[bytes]:
    yield b""
    while data := response.read1():
        yield data
    done()


class _Readable:
    """What ``http.client`` takes for a socket."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def makefile(self, *_mode: Any) -> PeerFile:
        return PeerFile(self._peer)
