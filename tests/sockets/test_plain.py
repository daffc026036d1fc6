"""Tracked sockets without TLS: duplicates, descriptors, and odd endings; no server."""

from __future__ import annotations

import gc
import os
import socket
import sys
import time
import warnings

import pytest
from accepting import begin_request, dial, take, tcp_listener
from servers import PATIENCE, wait_for

from flask_rawsocket import CloseReason, ConnState
from flask_rawsocket._sockets import tracked as _tracked
from flask_rawsocket._sockets.deadlines import WriteDeadlineError
from flask_rawsocket._sockets.plain import TrackedSocket
from flask_rawsocket._tracking.hooks import Hooks
from flask_rawsocket._tracking.tracker import process_tracker


def test_a_tracked_socket_is_a_socket(tracker, stack):
    """It is a `socket.socket`, its duplicates are nobody's connection, and it can be wrapped."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    assert isinstance(sock, socket.socket)
    with sock.dup() as duplicate:
        assert duplicate.connection is None
        duplicate.sendall(b"x")
        assert client.recv(1) == b"x"
    assert sock.connection.state is ConnState.NEW


def test_deadlines_beside_a_timeout(tracker, stack):
    """They hold where the socket has a timeout, before which Python makes no call."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    client.sendall(b"x")
    assert sock.recv(1) == b"x"
    sock.head_complete()
    sock.settimeout(PATIENCE)
    for read in lambda: sock.recv(1), lambda: sock.recv_into(bytearray(1)):
        sock.duties.read = time.monotonic() + 0.05
        with pytest.raises(TimeoutError, match="the read deadline has passed"):
            read()
    sock.duties.set_write(time.monotonic() + 0.05)
    with pytest.raises(WriteDeadlineError):
        while True:
            sock.send(bytes(1_000_000))


def test_a_duplicate_of_one_that_was_taken_over(tracker, stack):
    """It is nobody's connection, and keeps none open: the owner's end is an end for the peer."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    connection, stream = take(tracker, client, sock)
    with stream.sock.dup() as duplicate:
        assert duplicate.connection is None
        stream.close()
        assert connection.state is ConnState.CLOSED
        assert client.recv(1) == b""
        with pytest.raises(BrokenPipeError):
            duplicate.sendall(b"too late")


def test_a_duplicate_that_is_forgotten(tracker, stack):
    """It is closed with Python's own warning, as any socket."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    _, stream = take(tracker, client, sock)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        stream.sock.dup()
        gc.collect()
    assert any(str(each.message).startswith("unclosed <") for each in caught)
    stream.close()
    assert client.recv(1) == b""


def test_a_descriptor_that_is_detached(tracker, stack):
    """Who detaches the descriptor has ended the connection, as far as we can tell."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    connection = sock.connection
    with socket.socket(fileno=sock.detach()) as taken:
        assert connection.state is ConnState.CLOSED
        assert connection.close_reason.group is CloseReason.APP
        taken.sendall(b"x")
        assert client.recv(1) == b"x"


def test_an_error_keeps_no_view(tracker, stack):
    """Who has sent a bytearray may empty it when that fails, as asyncio does on Python 3.11."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    client.close()
    data = bytearray(10)

    def send():
        try:
            sock.send(data)
        except OSError:
            data.clear()

    wait_for(lambda: send() or not data, "an error")


def test_a_files_close_does_not_end_it(tracker, stack):
    """The end comes when the last file made of the socket is closed too."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    connection = sock.connection
    file = sock.makefile("rb")
    sock.close()
    assert connection.state is ConnState.NEW
    file.close()
    assert connection.state is ConnState.CLOSED
    assert client.recv(1) == b""


class TestForgotten:
    """A connection that was taken over, and whose owner holds it no more."""

    @pytest.fixture
    def seen(self, tracker):
        """What CLOSED hooks have seen of descriptors."""
        hooks, seen = Hooks(), []
        hooks.add([ConnState.CLOSED], lambda conn, *_: seen.append(conn.fileno() >= 0))
        tracker.add_hooks(hooks)
        yield seen
        del hooks

    @pytest.mark.parametrize("cycle", [False, True], ids=["alone", "in-a-cycle"])
    def test_it_is_closed(self, tracker, stack, seen, cycle):
        """It ends by the application, with a warning, and the hooks still see its socket."""
        client, sock = dial(stack, tcp_listener(tracker, stack))
        connection, stream = take(tracker, client, sock)
        holder = [stream]
        if cycle:
            holder.append(holder)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del stream, holder
            gc.collect()
        text = f"<Connection {connection.id} {connection.key} HIJACKED> was hijacked"
        (told,) = (each for each in caught if str(each.message).startswith(text))
        assert told.category is ResourceWarning
        wait_for(lambda: connection.state is ConnState.CLOSED, "CLOSED")
        assert client.recv(1) == b""
        assert tracker.wait_hijacked(10)
        assert connection.close_reason.group is CloseReason.APP
        assert seen == [True]

    def test_where_warnings_are_errors(self, tracker, stack, monkeypatch):
        """It is closed all the same; Python prints the error, as nobody can catch it."""
        printed = []
        monkeypatch.setattr(sys, "unraisablehook", lambda each: printed.append(each.exc_type))
        client, sock = dial(stack, tcp_listener(tracker, stack))
        connection, stream = take(tracker, client, sock)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            del stream
            gc.collect()
        wait_for(lambda: connection.state is ConnState.CLOSED, "CLOSED")
        assert client.recv(1) == b""
        assert printed[0] is ResourceWarning

    def test_by_a_child(self, stack):
        """A child process that drops what its parent holds does not end it."""
        client, sock = dial(stack, tcp_listener(process_tracker, stack))
        connection, stream = take(process_tracker, client, sock)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a fork beside threads, and in the child
            child = os.fork()
            if child == 0:
                try:
                    del stream, sock
                    gc.collect()
                finally:
                    os._exit(0)
        os.waitpid(child, 0)
        with stream:
            client.sendall(b"ping")
            assert stream.recv(4) == b"ping"
            stream.sendall(b"pong")
            assert client.recv(4) == b"pong"
            assert connection.state is ConnState.HIJACKED


@pytest.mark.parametrize("closer", ["parent", "child"])
def test_a_connection_of_two_processes(stack, closer):
    """A child may close what it has inherited; the parent goes on once the descriptor is its own.

    Its close() would be an end for the peer: what is handed to a child is detached.
    """
    client, sock = dial(stack, tcp_listener(process_tracker, stack))
    _, stream = take(process_tracker, client, sock)
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
        child = os.fork()
        if child == 0:
            try:
                if closer == "child":
                    stream.close()
                else:
                    os.read(reader, 1)
                    stream.sendall(b"said by the other")
            finally:
                os._exit(0)
    with stream:
        if closer == "parent":
            os.close(stream.sock.detach())
        os.write(writer, b"x")
        os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)
        if closer == "child":
            stream.sendall(b"said by the other")
        assert client.recv(100) == b"said by the other"


def test_an_untracked_tracked_socket():
    """One that was never adopted is just a socket."""
    ours, theirs = socket.socketpair()
    with theirs, TrackedSocket(ours.family, ours.type, ours.proto, ours.detach()) as sock:
        sock.await_request()
        sock.begin_request()
        theirs.sendall(b"x")
        assert sock.recv(1) == b"x"


def test_a_close_beside_a_move(tracker, stack, monkeypatch):
    """A close that comes while the descriptor moves leaves it to its new owner, who closes it.

    Else the end was reported, and the descriptor stayed open for good (12 of 98,000 on 3.13).
    """
    client, sock = dial(stack, tcp_listener(tracker, stack))
    client.sendall(b"x")
    assert sock.recv(1) == b"x"
    connection = sock.connection
    begin_request(connection)
    streams, original = [], _tracked.moving

    def moving_late():
        if not streams:  # the window, widened: after the look at the duties, before the lock
            streams.append(None)
            streams[0] = connection.hijack()
        return original()

    monkeypatch.setattr(_tracked, "moving", moving_late)
    sock.close()
    monkeypatch.undo()
    assert connection.state is ConnState.HIJACKED
    (stream,) = streams
    stream.close()
    assert connection.state is ConnState.CLOSED
    assert client.recv(1) == b""
    assert stream.fileno() == -1
