"""The listener and its sockets: what stays a socket's, deadlines, odd endings; no server."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import socket
import ssl
import sys
import threading
import time
import warnings

import pytest
from accepting import begin_request, dial, tcp_listener, unix_listener
from servers import client_context, wait_for

from flask_rawsocket import CloseReason, ConnectionClosedError, ConnState, RawSocketError
from flask_rawsocket._sockets import tls as _tracked_tls
from flask_rawsocket._sockets.deadlines import HeaderTimeoutError
from flask_rawsocket._sockets.listener import Listener
from flask_rawsocket._sockets.plain import TrackedSocket
from flask_rawsocket._sockets.tls import TrackedSSLSocket, track_tls
from flask_rawsocket._tracking.hooks import Hooks
from flask_rawsocket._tracking.tracker import process_tracker


def server_context(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def take(tracker, client, sock):
    """Let a request come, and take its connection over; give that and the stream."""
    client.sendall(b"x")
    assert sock.recv(1) == b"x"
    connection = sock.connection
    begin_request(connection)
    return connection, tracker.hijack(connection)


def test_a_tracked_socket_is_a_socket(tracker, stack):
    """It is a `socket.socket`, its duplicates are nobody's connection, and it can be wrapped."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    assert isinstance(sock, socket.socket)
    with sock.dup() as duplicate:
        assert duplicate.connection is None
        duplicate.sendall(b"x")
        assert client.recv(1) == b"x"
    assert sock.connection.state is ConnState.NEW


def test_a_duplicate_of_one_that_was_taken_over(tracker, stack):
    """It is nobody's connection: it keeps the descriptor's file open, and is no part of the end."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    connection, stream = take(tracker, client, sock)
    with stream.sock.dup() as duplicate:
        assert duplicate.connection is None
        stream.close()
        assert connection.state is ConnState.CLOSED
        duplicate.sendall(b"still here")
        assert client.recv(10) == b"still here"
    assert client.recv(1) == b""


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


def test_the_unix_override_can_be_turned_off(tracker, stack, tmp_path):
    """The address then is the peer's own; the key is the override either way."""
    tracker.settings.unix_remote_addr = False
    listener = unix_listener(tracker, stack, tmp_path / "s")
    client = stack.enter_context(socket.socket(socket.AF_UNIX))
    client.bind(str(tmp_path / ";uid=0;"))
    client.connect(str(tmp_path / "s"))
    sock, address = listener.accept()
    stack.enter_context(sock)
    assert address == str(tmp_path / ";uid=0;")
    assert sock.connection.key.startswith("@")


def test_the_head_is_due_from_its_first_byte(tracker, stack):
    """A head that dribbles is late; the connection is ACTIVE, and its end an error."""
    tracker.settings.header_timeout = 0.05
    client, sock = dial(stack, tcp_listener(tracker, stack))
    client.sendall(b"GET")
    assert sock.recv(100) == b"GET"
    with pytest.raises(HeaderTimeoutError, match="too slowly"):
        sock.recv(100)
    connection = sock.connection
    sock.close()
    assert connection.close_reason is CloseReason.ERROR


def test_a_head_that_never_comes(tracker, stack):
    """Who waits by reading is let go too; then no request came."""
    tracker.settings.header_timeout = 0.05
    _, sock = dial(stack, tcp_listener(tracker, stack))
    sock.expect_head()
    with pytest.raises(HeaderTimeoutError, match="no request came"):
        sock.recv_into(bytearray(1))
    connection = sock.connection
    sock.close()
    assert connection.close_reason is CloseReason.KEEPALIVE_TIMEOUT


def test_no_limit(tracker, stack):
    """None is no limit."""
    tracker.settings.header_timeout = None
    client, sock = dial(stack, tcp_listener(tracker, stack))
    sock.expect_head()
    client.sendall(b"x")
    sock.recv(1)
    assert sock.duties.read is None


def test_a_read_deadline_bounds_the_whole(tracker, stack):
    """Bytes that dribble in do not extend it."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    connection = sock.connection
    client.sendall(b"x")
    sock.recv(1)
    sock.head_complete()
    connection.set_deadlines(read=0.1)
    stop = threading.Event()

    def dribble():
        while not stop.wait(0.01):
            client.sendall(b"x")

    dribbler = threading.Thread(target=dribble)
    dribbler.start()
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="read deadline"):
        while True:
            sock.recv(1)
    assert time.monotonic() - began < 5
    stop.set()
    dribbler.join()
    connection.set_deadlines(read=None)
    client.sendall(b"x")
    assert sock.recv(1) == b"x"


@pytest.mark.parametrize("how", ["send", "sendall", "sendfile"])
def test_a_write_deadline(tracker, stack, tmp_path, how):
    """Writing to a peer that does not read fails in time, however it is done."""
    _, sock = dial(stack, tcp_listener(tracker, stack))
    sock.connection.set_deadlines(write=0.1)
    path = tmp_path / "file"
    path.write_bytes(b"x" * 50_000_000)
    with path.open("rb") as file, pytest.raises(TimeoutError, match="write deadline"):
        while True:
            if how == "sendfile":
                sock.sendfile(file)
            else:
                getattr(sock, how)(b"x" * 100_000)


def test_sendfile_before_its_deadline(tracker, stack, tmp_path):
    """With time enough a file arrives whole, or as much of it as was asked for."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    sock.connection.set_deadlines(write=10)
    with path.open("rb") as file:
        assert sock.sendfile(file, 2, 5) == 5
        assert sock.sendfile(file) == 10
    sock.connection.set_deadlines(write=None)
    with path.open("rb") as file:
        assert sock.sendfile(file) == 10
    sock.close()
    data = b""
    while chunk := client.recv(100):
        data += chunk
    assert data == b"23456" + b"0123456789" * 2


def test_a_descriptor_that_is_detached(tracker, stack):
    """Who detaches the descriptor has ended the connection, as far as we can tell."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    connection = sock.connection
    with socket.socket(fileno=sock.detach()) as taken:
        assert connection.state is ConnState.CLOSED
        assert connection.close_reason is CloseReason.APP
        taken.sendall(b"x")
        assert client.recv(1) == b"x"


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
        assert connection.close_reason is CloseReason.APP
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
    """Once the owner has forked, either process may close its own end, and the other goes on."""
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
            stream.close()
        os.write(writer, b"x")
        os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)
        if closer == "child":
            stream.sendall(b"said by the other")
        assert client.recv(100) == b"said by the other"


class TestTLS:
    """The Connection moves to the socket that wraps it."""

    @pytest.fixture
    def wrap(self, tracker, stack, certificate):
        """A function that accepts one connection and shakes hands; gives both ends."""
        listener = tcp_listener(tracker, stack)

        def wrap(**kwargs):
            client = stack.enter_context(socket.create_connection(listener.getsockname()))
            client.settimeout(10)
            sock, _ = listener.accept()
            stack.enter_context(sock)
            ends = []

            def serve():
                ends.append(
                    track_tls(server_context(certificate)).wrap_socket(
                        sock, server_side=True, **kwargs
                    )
                )
                if not kwargs.get("do_handshake_on_connect", True):
                    ends[0].do_handshake()

            thread = threading.Thread(target=serve)
            thread.start()
            client = stack.enter_context(client_context().wrap_socket(client))
            thread.join()
            return client, stack.enter_context(ends[0])

        return wrap

    @pytest.mark.parametrize("at_once", [True, False])
    def test_it_moves(self, wrap, at_once):
        """It is the same Connection, on the TLS socket; handshake bytes are no request."""
        client, sock = wrap(do_handshake_on_connect=at_once)
        assert isinstance(sock, TrackedSSLSocket)
        connection = sock.connection
        assert connection.sock is sock
        assert connection.is_tls
        assert connection.state is ConnState.NEW
        client.sendall(b"x")
        assert sock.recv(1) == b"x"
        assert connection.state is ConnState.ACTIVE
        client.settimeout(0)
        with contextlib.suppress(ssl.SSLWantReadError):
            client.unwrap()  # says close_notify, and leaves the connection open
        assert sock.recv(1) == b""
        sock.close()
        assert connection.close_reason is CloseReason.CLIENT
        assert connection.is_tls

    def test_asked_while_it_is_wrapped(self, tracker, stack, certificate, monkeypatch):
        """Whoever asks the Connection meanwhile finds one of its sockets, and that one open."""
        _, sock = dial(stack, tcp_listener(tracker, stack))
        connection, found, threads = sock.connection, [], []
        original = socket.socket.__init__

        def init(self, *args, **kwargs):
            thread = threading.Thread(target=lambda: found.append(connection.fileno()))
            threads.append(thread)
            thread.start()
            original(self, *args, **kwargs)

        monkeypatch.setattr(socket.socket, "__init__", init)
        context = track_tls(server_context(certificate))
        wrapped = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        monkeypatch.undo()
        with wrapped:
            for thread in threads:
                thread.join()
            assert threads
            assert found == [wrapped.fileno()] * len(threads)

    @pytest.mark.parametrize("seconds", [math.inf, 1e300])
    def test_a_deadline_that_never_comes(self, wrap, seconds):
        """It is no limit, though no timeout of a socket could be as long."""
        client, sock = wrap()
        sock.connection.set_deadlines(read=seconds, write=seconds)
        client.sendall(b"x")
        assert sock.recv(1) == b"x"
        sock.sendall(b"y")
        assert client.recv(1) == b"y"

    @pytest.mark.parametrize("seconds", [math.nan, -math.inf])
    def test_a_deadline_that_is_none(self, wrap, seconds):
        """What is not a number of seconds is refused, and changes nothing."""
        client, sock = wrap()
        with pytest.raises(ValueError, match="not a number of seconds"):
            sock.connection.set_deadlines(read=seconds)
        with pytest.raises(ValueError, match="not a number of seconds"):
            sock.connection.set_deadlines(write=seconds)
        client.sendall(b"x")
        assert sock.recv(1) == b"x"

    def test_a_write_deadline(self, wrap):
        """Writing TLS to a peer that does not read fails in time."""
        _, sock = wrap()
        sock.connection.set_deadlines(write=0.1)
        with pytest.raises(TimeoutError):
            while True:
                sock.sendall(b"x" * 100_000)

    def test_a_read_deadline(self, wrap):
        """Reading TLS fails in time, too."""
        client, sock = wrap()
        client.sendall(b"x")
        sock.recv(1)
        sock.head_complete()
        sock.connection.set_deadlines(read=0.05)
        with pytest.raises(TimeoutError, match="read deadline"):
            sock.recv(1)
        sock.connection.set_deadlines(read=10)
        client.sendall(b"y")
        assert sock.recv(1) == b"y"

    @pytest.mark.parametrize("how", ["recv", "send"])
    def test_a_close_amid_a_call(self, tracker, wrap, stack, monkeypatch, how):
        """The number of the descriptor is not given out again before the owner's call is over."""
        client, sock = wrap()
        connection, stream = take(tracker, client, sock)
        number = sock.fileno()
        entered, leave, raised = threading.Event(), threading.Event(), []

        def waiting(call):
            def wait(*args):
                entered.set()
                assert leave.wait(10)
                return call(*args)

            return wait

        for name in "_read", "_send":
            monkeypatch.setattr(_tracked_tls, name, waiting(getattr(_tracked_tls, name)))

        def own():
            try:
                getattr(stream, how)(1 if how == "recv" else b"x")
            except RawSocketError as exc:
                raised.append(type(exc))

        owner = threading.Thread(target=own)
        owner.start()
        assert entered.wait(10)
        stream.close()
        assert connection.state is ConnState.CLOSED
        others = [stack.enter_context(socket.socket()) for _ in range(5)]
        assert number not in [each.fileno() for each in others]
        with pytest.raises(ConnectionClosedError):
            stream.recv(1)
        leave.set()
        owner.join()
        assert raised == [ConnectionClosedError]
        others += [stack.enter_context(socket.socket()) for _ in range(5)]
        assert number in [each.fileno() for each in others]

    def test_a_server_that_is_done_amid_a_close(self, tracker, wrap, monkeypatch):
        """The server closes its file while the owner closes: the CLOSED hooks are the owner's."""
        client, sock = wrap()
        connection, stream = take(tracker, client, sock)
        file = sock.makefile("rb")
        thread_of_hook = []

        def serve():
            sock.ignore_server()
            file.close()
            sock.hear_server_again()

        def close(sock):
            original(sock)
            if threading.current_thread() is not server:
                server.start()
                server.join()

        hooks = Hooks()
        hooks.add([ConnState.CLOSED], lambda *_: thread_of_hook.append(threading.current_thread()))
        tracker.add_hooks(hooks)
        original, server = TrackedSSLSocket.close, threading.Thread(target=serve)
        monkeypatch.setattr(TrackedSSLSocket, "close", close)
        stream.close()
        monkeypatch.undo()
        assert connection.state is ConnState.CLOSED
        assert thread_of_hook == [threading.current_thread()]

    def test_a_context_with_sockets_of_its_own(self, certificate):
        """Sockets of a foreign class could not be tracked; it is said which class."""

        class Special(ssl.SSLSocket):
            pass

        context = server_context(certificate)
        context.sslsocket_class = Special
        with pytest.raises(TypeError, match="Special"):
            track_tls(context)

    def test_a_context_that_is_used_again(self, certificate):
        """Tracking a context twice changes it once."""
        context = track_tls(server_context(certificate))
        callback = context.sni_callback
        assert track_tls(context).sni_callback is callback

    def test_a_client_that_is_gone_before_the_handshake(self, tracker, stack, certificate):
        """It is closed before its descriptor is, though wrapping it fails at once."""
        listener = tcp_listener(tracker, stack)
        client, sock = dial(stack, listener)
        connection = sock.connection
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        wait_for(connection.is_disconnected, "the reset")
        with pytest.raises((ssl.SSLError, OSError)):
            track_tls(server_context(certificate)).wrap_socket(sock, server_side=True).recv(1)
        wait_for(lambda: connection.state is not ConnState.ACTIVE, "no request")

    def test_what_cannot_be_wrapped(self, tracker, stack, certificate):
        """A socket that the context refuses stays the server's, and is closed as such."""
        client, sock = dial(stack, tcp_listener(tracker, stack))
        connection = sock.connection
        with pytest.raises(ValueError, match="server_hostname"):
            track_tls(server_context(certificate)).wrap_socket(
                sock, server_side=True, server_hostname="x"
            )
        assert connection.state is ConnState.CLOSED
        assert client.recv(1) == b""

    def test_a_socket_that_is_nobodys(self, certificate, stack):
        """A tracking context wraps other sockets as ever."""
        ours, theirs = socket.socketpair()
        stack.enter_context(theirs)
        context = track_tls(server_context(certificate))
        sock = stack.enter_context(
            context.wrap_socket(ours, server_side=True, do_handshake_on_connect=False)
        )
        assert sock.connection is None


def test_an_untracked_tracked_socket():
    """One that was never adopted is just a socket."""
    ours, theirs = socket.socketpair()
    with theirs, TrackedSocket(ours.family, ours.type, ours.proto, ours.detach()) as sock:
        sock.await_request()
        sock.begin_request()
        theirs.sendall(b"x")
        assert sock.recv(1) == b"x"
