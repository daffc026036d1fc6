"""`HijackedSocket`, over a socket pair: leading bytes first, errors in our own words."""

from __future__ import annotations

import io
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_rawsocket import ConnectionBrokenError, ConnectionClosedError, HijackedSocket
from flask_rawsocket._handoff import switching_protocols


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    ours.settimeout(5)
    with ours, theirs:
        yield ours, theirs


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


def test_half_close(pair):
    """`shutdown` tells the peer that no more will come."""
    ours, theirs = pair
    HijackedSocket(ours, b"").shutdown(socket.SHUT_WR)
    assert theirs.recv(1) == b""


def test_switching_protocols():
    """The head of a 101 has the protocol and the fields."""
    assert switching_protocols("h2c", [("A", "1"), ("B", "")]) == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n"
        b"A: 1\r\nB: \r\n\r\n"
    )
    assert b"Upgrade: irc/6.9\r\n" in switching_protocols("irc/6.9")


@pytest.mark.parametrize(
    ("protocol", "headers"),
    [
        ("web socket", {}),
        ("x\r\nSet-Cookie: a", {}),
        ("ok", {"A b": "1"}),
        ("ok", {"A": "1\r\nB: 2"}),
        ("ok", {"": "1"}),
        ("ok", {"A": "\N{SNOWMAN}"}),
    ],
)
def test_switching_protocols_refuses(protocol, headers):
    """Nothing gets into a head that is no protocol, name or value."""
    with pytest.raises(ValueError, match="RFC 9110"):
        switching_protocols(protocol, headers)
