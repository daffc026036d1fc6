"""`HijackedSocket`, over a socket pair: leading bytes first, errors in our own words."""

from __future__ import annotations

import contextlib
import io
import selectors
import socket
import ssl
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import client_context

from flask_rawsocket import (
    ConnectionBrokenError,
    ConnectionClosedError,
    HijackedSocket,
    UnsupportedError,
)


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    ours.settimeout(5)
    with ours, theirs:
        yield ours, theirs


class TLSClient:
    """A TLS client that sees what is on the wire."""

    def __init__(self, sock):
        self.sock = sock
        self.wire = b""
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client_context().wrap_bio(self.incoming, self.outgoing)

    def send(self, data):
        self.tls.write(data)
        self.sock.sendall(self.outgoing.read())

    def receive(self, step):
        """Give what `step` gives when it has had the bytes that it needs."""
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self.sock.sendall(self.outgoing.read())
                data = self.sock.recv(65536)
                self.wire += data
                if data:
                    self.incoming.write(data)
                else:
                    self.incoming.write_eof()
            finally:
                self.sock.sendall(self.outgoing.read())


@pytest.fixture
def tls_pair(certificate):
    """The server's end, an ``ssl.SSLSocket``, and a client that sees the wire."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(10)
        theirs.settimeout(10)
        client, wrapped = TLSClient(theirs), []
        thread = threading.Thread(
            target=lambda: wrapped.append(context.wrap_socket(ours, server_side=True))
        )
        thread.start()
        client.receive(client.tls.do_handshake)
        thread.join()
        with wrapped[0]:
            yield wrapped[0], client


class EndedElsewhere(socket.socket):
    """A socket that another thread ends as ours do: noted first, and then shut down."""

    has_ended = False

    def end(self):
        self.has_ended = True
        self.shutdown(socket.SHUT_RDWR)


def test_leading_bytes_come_first(pair):
    """What the server had read comes out before what is in the socket."""
    ours, theirs = pair
    theirs.sendall(b" world")
    stream = HijackedSocket(ours, b"hello")
    assert (stream.recv(2), stream.recv(100), stream.recv(100)) == (b"he", b"llo", b" world")
    assert stream.leading_bytes == b"hello"


@given(
    leading=st.binary(max_size=50),
    rest=st.binary(max_size=50),
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=10),
    into=st.booleans(),
)
def test_nothing_is_lost_and_nothing_doubled(leading, rest, sizes, into):
    """However it is read, the bytes come once and in order."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(rest)
        theirs.shutdown(socket.SHUT_WR)
        stream, got, number = HijackedSocket(ours, leading), b"", 0
        while True:
            size = sizes[number % len(sizes)]
            number += 1
            if into:
                buffer = bytearray(size)
                data = bytes(buffer[: stream.recv_into(buffer)])
            else:
                data = stream.recv(size)
            if not data:
                break
            got += data
        assert got == leading + rest


def test_recv_into_takes_a_number(pair):
    """`nbytes` bounds what is read; 0 means the buffer's length."""
    stream = HijackedSocket(pair[0], b"hello")
    buffer = bytearray(5)
    assert stream.recv_into(buffer, 2) == 2
    assert stream.recv_into(buffer) == 3
    assert buffer == b"llo\0\0"


def test_recv_exactly(pair):
    """It reads across the leading bytes and the socket, and says how much was missing."""
    ours, theirs = pair
    theirs.sendall(b"cdef")
    theirs.shutdown(socket.SHUT_WR)
    stream = HijackedSocket(ours, b"ab")
    assert stream.recv_exactly(4) == b"abcd"
    with pytest.raises(ConnectionBrokenError, match="2 of 5 bytes"):
        stream.recv_exactly(5)


@pytest.mark.parametrize("nbytes", [-1, -100])
def test_negative_sizes(pair, nbytes):
    """They are refused as by a socket, leading bytes or not, and cost none of those."""
    stream = HijackedSocket(pair[0], b"hello")
    for _ in range(2):
        with pytest.raises(ValueError, match="negative buffersize in recv"):
            stream.recv(nbytes)
        with pytest.raises(ValueError, match="negative buffersize in recv_into"):
            stream.recv_into(bytearray(5), nbytes)
        stream.recv(100 if stream._rest else 0)


def test_recv_exactly_loses_nothing(pair):
    """What had come before a timeout, or the end, is there for the next read."""
    ours, theirs = pair
    theirs.sendall(b"cd")
    stream = HijackedSocket(ours, b"ab")
    stream.settimeout(0.01)
    with pytest.raises(TimeoutError):
        stream.recv_exactly(8)
    with pytest.raises(TimeoutError):
        stream.recv_exactly(6)
    theirs.sendall(b"efghij")
    assert stream.recv_exactly(8) == b"abcdefgh"
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectionBrokenError, match="2 of 3 bytes"):
        stream.recv_exactly(3)
    assert stream.recv(10) == b"ij"
    assert stream.recv(10) == b""


def test_makefile_after_a_timeout(pair):
    """A file whose read has timed out is not read on: it may have lost bytes (`SocketIO`)."""
    ours, theirs = pair
    stream = HijackedSocket(ours, b"")
    stream.settimeout(0.01)
    theirs.sendall(b"abcd")
    with stream.makefile("rb") as file:
        with pytest.raises(TimeoutError):
            file.read(8)
        theirs.sendall(b"efghijkl")
        with pytest.raises(OSError, match="cannot read from timed out object"):
            file.read(8)


def test_makefile_without_blocking(pair):
    """In non-blocking mode a file gives what there is, and then None."""
    ours, theirs = pair
    stream = HijackedSocket(ours, b"")
    stream.settimeout(0)
    theirs.sendall(b"abcd")
    with stream.makefile("rb") as file:
        assert file.read(8) == b"abcd"
        assert file.read(8) is None
    with stream.makefile("wb", 0) as file:
        while (sent := file.write(b"x" * 65536)) is not None:
            assert sent > 0


def test_makefile_without_blocking_under_tls(tls_pair):
    """Likewise where it is OpenSSL that has to wait."""
    sock, client = tls_pair
    stream = HijackedSocket(sock, b"")
    client.send(b"abcd")
    assert stream.recv(2) == b"ab"
    stream.settimeout(0)
    with stream.makefile("rb") as file:
        assert file.read(8) == b"cd"
        assert file.read(8) is None
    with stream.makefile("wb", 0) as file:
        while (sent := file.write(b"x" * 65536)) is not None:
            assert sent > 0


def test_makefile_when_closed(pair):
    """A closed file says so, and one for the other direction too."""
    stream = HijackedSocket(pair[0], b"abc")
    file = stream.makefile("rb", 0)
    with pytest.raises(io.UnsupportedOperation):
        file.write(b"x")
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.read(1)
    assert stream.recv(3) == b"abc"


def test_makefile(pair):
    """Files read the leading bytes too; text, binary, buffered or not, both ways."""
    ours, theirs = pair
    theirs.sendall(b"two\nthree\n")
    stream = HijackedSocket(ours, b"one\n")
    with stream.makefile(encoding="ascii") as file:
        assert [file.readline() for _ in range(3)] == ["one\n", "two\n", "three\n"]
    with stream.makefile("rwb") as file:
        file.write(b"four")
        file.flush()
    assert theirs.recv(10) == b"four"
    with stream.makefile("wb", 0) as file:
        assert isinstance(file, io.RawIOBase)
        assert file.fileno() == ours.fileno()
        file.write(b"five")
    assert theirs.recv(10) == b"five"
    with stream.makefile("w", encoding="ascii") as file:
        file.write("six")
    assert theirs.recv(10) == b"six"
    assert stream.fileno() >= 0, "closing a file has closed the connection"


@pytest.mark.parametrize(
    ("mode", "buffering", "match"), [("a", None, "invalid mode"), ("r", 0, "must be binary")]
)
def test_makefile_refuses(pair, mode, buffering, match):
    """What `socket.makefile` refuses is refused."""
    with pytest.raises(ValueError, match=match):
        HijackedSocket(pair[0], b"").makefile(mode, buffering)


def test_after_close(pair):
    """A closed stream says so, and closing twice is closing."""
    stream = HijackedSocket(pair[0], b"left")
    with stream:
        pass
    stream.close()
    for use in (
        lambda: stream.recv(1),
        lambda: stream.recv_into(bytearray(1)),
        lambda: stream.send(b"x"),
        lambda: stream.sendall(b"x"),
        lambda: stream.settimeout(1),
        lambda: stream.shutdown(socket.SHUT_WR),
    ):
        with pytest.raises(ConnectionClosedError):
            use()
    assert stream.fileno() == -1
    assert repr(stream) == "<HijackedSocket closed, 0 leading bytes to read>"


def test_a_broken_connection_keeps_its_cause(pair):
    """What the peer did is ConnectionBrokenError, with the OSError as its cause."""
    ours, theirs = pair
    theirs.close()
    with pytest.raises(ConnectionBrokenError) as caught:
        HijackedSocket(ours, b"").sendall(b"x" * 100)
    assert isinstance(caught.value.__cause__, BrokenPipeError)


def test_timeouts_stay_timeouts(pair):
    """`settimeout` is the socket's own."""
    stream = HijackedSocket(pair[0], b"")
    stream.settimeout(0.01)
    with pytest.raises(TimeoutError):
        stream.recv(1)
    stream.settimeout(0)
    with pytest.raises(BlockingIOError):
        stream.recv(1)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="needs TCP_USER_TIMEOUT")
def test_a_peer_that_the_kernel_gave_up():
    """ETIMEDOUT is no timeout of `settimeout`: it is the end of the connection."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        stack.enter_context(socket.create_connection(listener.getsockname()))
        ours = stack.enter_context(listener.accept()[0])
        ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 50)
        stream = HijackedSocket(ours, b"")
        stream.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while True:  # until the peer, who reads nothing, has closed its window
                stream.send(b"x" * 65536)
        stream.settimeout(20)
        with pytest.raises(ConnectionBrokenError) as caught:
            stream.recv(1)
        assert isinstance(caught.value.__cause__, TimeoutError)


@pytest.mark.parametrize("into", [False, True])
def test_ended_by_another_thread(into):
    """Who waits for bytes while our side ends the connection is told so; it is no b""."""
    ours, theirs = socket.socketpair()
    with EndedElsewhere(fileno=ours.detach()) as sock, theirs:
        stream, told = HijackedSocket(sock, b""), []

        def read():
            try:
                told.append(stream.recv_into(bytearray(1)) if into else stream.recv(1))
            except ConnectionClosedError as exc:
                told.append(exc)

        thread = threading.Thread(target=read)
        thread.start()
        stream.close()
        thread.join(10)
        assert isinstance(told[0], ConnectionClosedError)
        assert stream.fileno() >= 0, "the descriptor tells it, and not we"
        with pytest.raises(ConnectionClosedError):
            stream.sendall(b"x" * 100)


def test_half_close(pair):
    """`shutdown` tells the peer that no more will come."""
    ours, theirs = pair
    HijackedSocket(ours, b"").shutdown(socket.SHUT_WR)
    assert theirs.recv(1) == b""


@pytest.mark.parametrize("how", [socket.SHUT_RD, socket.SHUT_RDWR])
def test_nothing_in_the_clear_after_a_shutdown(tls_pair, how):
    """`shutdown` keeps the session: what is sent afterwards is encrypted, or not sent."""
    sock, client = tls_pair
    stream = HijackedSocket(sock, b"")
    stream.shutdown(how)
    assert stream.recv(10) == b""
    with contextlib.suppress(ConnectionBrokenError):
        stream.sendall(b"SECRET")
        assert how == socket.SHUT_RD, "sent on a connection that has been shut down"
        assert client.receive(lambda: client.tls.read(10)) == b"SECRET"
    stream.close()
    while data := client.sock.recv(65536):
        client.wire += data
    assert b"SECRET" not in client.wire


def test_no_half_close_under_tls(tls_pair):
    """The sending half alone cannot be closed; the error says what can, and breaks nothing."""
    sock, client = tls_pair
    stream = HijackedSocket(sock, b"")
    with pytest.raises(UnsupportedError, match=r"close\(\)"):
        stream.shutdown(socket.SHUT_WR)
    stream.sendall(b"SECRET")
    assert client.receive(lambda: client.tls.read(10)) == b"SECRET"
    assert b"SECRET" not in client.wire
    client.send(b"hello")
    assert stream.recv(10) == b"hello"
    stream.close()
    for how in (socket.SHUT_WR, socket.SHUT_RDWR):
        with pytest.raises(ConnectionClosedError):
            stream.shutdown(how)


def test_pending_leading_bytes(pair):
    """What was read ahead is pending until it has been read; what the kernel has is not."""
    ours, theirs = pair
    stream = HijackedSocket(ours, b"abc")
    theirs.sendall(b"def")
    assert stream.pending() == 3
    assert stream.recv(2) == b"ab"
    assert stream.pending() == 1
    assert stream.recv(100) == b"c"
    assert stream.pending() == 0
    assert stream.recv(100) == b"def"
    stream.close()
    assert stream.pending() == 0


def test_pending_decrypted_bytes(tls_pair):
    """A loop that waits in a selector where nothing is pending gets all of a TLS record."""
    ours, client = tls_pair
    stream = HijackedSocket(ours, b"ab")
    client.send(b"0123456789")
    got = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while len(got) < 12:
            assert stream.pending() or selector.select(5), got
            got += stream.recv(4)
    assert got == b"ab0123456789"
    assert stream.pending() == 0
    stream.close()
    assert stream.pending() == 0
