"""Tracked sockets with TLS: the move to the wrapping socket, deadlines, and endings; no server."""

from __future__ import annotations

import contextlib
import math
import socket
import ssl
import threading

import pytest
from accepting import begin_request, dial, take, tcp_listener
from proxying import V1
from servers import client_context, wait_for

from flask_rawsocket import CloseReason, ConnectionClosedError, ConnState, RawSocketError
from flask_rawsocket._sockets import tls as _tracked_tls
from flask_rawsocket._sockets.proxy_protocol import ProxyParser
from flask_rawsocket._sockets.tls import TrackedSSLSocket
from flask_rawsocket._sockets.tls_context import track_tls
from flask_rawsocket._tracking.hooks import Hooks


def server_context(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


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

    @pytest.mark.parametrize("parts", [[V1 + b"GET"], [V1[:9], V1[9:], b"GET"], [b"P", b"OST"]])
    @pytest.mark.parametrize("into", [False, True])
    def test_a_proxy_header_inside(self, wrap, parts, into):
        """It is taken out of what is read, which is no more than was asked for."""
        client, sock = wrap()
        sock.duties.proxy_parser = ProxyParser("auto", is_trusted=True)
        for part in parts:
            client.sendall(part)
        data, buffer = b"", bytearray(4)
        expected = b"".join(parts).removeprefix(V1)
        while len(data) < len(expected):
            part = bytes(buffer[: sock.recv_into(buffer)]) if into else sock.recv(4)
            assert 0 < len(part) <= 4
            data += part
        assert data == expected
        assert sock.connection.state is ConnState.ACTIVE

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
        assert connection.close_reason.group is CloseReason.CLIENT
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
        begin_request(sock.connection)
        sock.connection.set_deadlines(read=seconds, write=seconds)
        client.sendall(b"x")
        assert sock.recv(1) == b"x"
        sock.sendall(b"y")
        assert client.recv(1) == b"y"

    @pytest.mark.parametrize("seconds", [math.nan, -math.inf])
    def test_a_deadline_that_is_none(self, wrap, seconds):
        """What is not a number of seconds is refused, and changes nothing."""
        client, sock = wrap()
        begin_request(sock.connection)
        with pytest.raises(ValueError, match="not a number of seconds"):
            sock.connection.set_deadlines(read=seconds)
        with pytest.raises(ValueError, match="not a number of seconds"):
            sock.connection.set_deadlines(write=seconds)
        client.sendall(b"x")
        assert sock.recv(1) == b"x"

    def test_a_write_deadline(self, wrap):
        """Writing TLS to a peer that does not read fails in time."""
        _, sock = wrap()
        begin_request(sock.connection)
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
        begin_request(sock.connection)
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
