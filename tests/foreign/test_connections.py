"""Connections of servers that tell nothing: the watch of a peer, which ends with its request."""

from __future__ import annotations

import errno
import gc
import io
import socket
import threading

import pytest
from flask import Flask
from servers import PATIENCE, wait_for
from werkzeug.wsgi import FileWrapper

from flask_rawsocket import ConnectionClosedError, InvalidStateError, _wsgi, current_conn
from flask_rawsocket._tracking.tracker import process_tracker
from flask_rawsocket.globals import ConnectionMiddleware
from flask_rawsocket.sockinfo import PeerStatus


@pytest.fixture
def pair():
    """A server's end, in a list that is emptied to forget it, and the client's."""
    ours, peer = socket.socketpair()
    held = [ours]
    del ours
    with peer:
        yield held, peer
        for each in held:
            each.close()


class Server:
    """What a WSGI server does with a request."""

    def __init__(self, held, app):
        self.environ = {"gunicorn.socket": held[0]}
        self.body = ConnectionMiddleware(app)(self.environ, lambda *_args: None)
        self.conn = _wsgi.get(self.environ)

    def forget(self, held):
        """Close the socket, and refer to it no more."""
        del self.environ["gunicorn.socket"]
        held.pop().close()
        gc.collect()


def app(_environ, _start_response):
    yield b""


def test_a_callback_is_made(pair):
    """It is told when the client leaves in the request."""
    held, peer = pair
    server, called = Server(held, app), threading.Event()
    server.conn.on_disconnect(called.set)
    peer.close()
    assert called.wait(PATIENCE)
    server.body.close()


def test_a_callback_is_forgotten(pair):
    """At the end of the request it is, and the watcher knows nothing of the connection any more."""
    held, peer = pair
    server, called = Server(held, app), threading.Event()
    server.conn.on_disconnect(called.set)
    before = len(process_tracker._watcher)
    server.body.close()
    assert len(process_tracker._watcher) == before - 1
    peer.close()
    assert not called.wait(0.05)


@pytest.mark.parametrize("watch", ["on_disconnect", "wait_disconnected"])
def test_after_the_request(pair, watch):
    """Nobody would tell the end of the connection, so it is refused."""
    held, _peer = pair
    server = Server(held, app)
    server.body.close()
    args = {"on_disconnect": (print,), "wait_disconnected": (1,)}[watch]
    with pytest.raises(InvalidStateError, match="no request in hand"):
        getattr(server.conn, watch)(*args)


def test_a_wait_ends_with_its_request(pair):
    """A thread that outlives it is told so."""
    held, _peer = pair
    server, found = Server(held, app), []

    def wait():
        try:
            server.conn.wait_disconnected()
        except InvalidStateError as exc:
            found.append(exc)

    before = len(process_tracker._watcher)
    thread = threading.Thread(target=wait)
    thread.start()
    wait_for(lambda: len(process_tracker._watcher) > before, "the thread to wait")
    server.body.close()
    thread.join(PATIENCE)
    assert found


def test_the_server_closes_first(pair):
    """It has read the client's end: then the client is gone, and who watches is told."""
    held, _peer = pair
    server, called, waited = Server(held, app), threading.Event(), threading.Event()
    conn = server.conn
    conn.on_disconnect(called.set)
    before = len(process_tracker._watcher)

    def wait():
        waited.gone = conn.wait_disconnected()
        waited.set()

    thread = threading.Thread(target=wait)
    thread.start()
    wait_for(lambda: len(process_tracker._watcher._by_number[conn.id].watches) > 1, "the wait")
    server.forget(held)
    assert called.wait(PATIENCE)
    assert waited.wait(PATIENCE)
    thread.join(PATIENCE)
    assert waited.gone
    assert conn.is_disconnected()
    assert conn.peer_status() is PeerStatus.CLOSED
    assert len(process_tracker._watcher) == before - 1
    server.body.close()
    with pytest.raises(ConnectionClosedError):
        conn.is_disconnected()


def test_the_server_has_closed(pair):
    """Who asks to be told after that is told at once."""
    held, _peer = pair
    server, called = Server(held, app), threading.Event()
    server.forget(held)
    server.conn.on_disconnect(called.set)
    assert called.wait(PATIENCE)
    assert server.conn.wait_disconnected(PATIENCE)
    server.body.close()


def test_the_server_keeps_what_it_has_closed(pair):
    """The kernel has forgotten the descriptor; the callback is made within the request."""
    held, _peer = pair
    server, called = Server(held, app), threading.Event()
    server.conn.on_disconnect(called.set)
    held[0].close()
    assert called.wait(PATIENCE)
    server.body.close()


def test_a_socket_without_names(pair):
    """Some systems know neither end of a connection that was reset already."""
    held, _peer = pair

    class Nameless:
        family = socket.AF_INET
        fileno, getsockopt = held[0].fileno, held[0].getsockopt

        def getsockname(self):
            raise OSError(errno.EINVAL, "it has been reset")

        getpeername = getsockname

    server = Server([Nameless()], app)
    assert (server.conn.local_address, server.conn.remote_address) == ("", "")
    server.body.close()


def test_a_descriptor_that_is_used_again(pair, stack):
    """The next connection has the number: the former one's callback is made all the same."""
    held, _peer = pair
    server, called = Server(held, app), threading.Event()
    server.conn.on_disconnect(called.set)
    number = held[0].fileno()
    held[0].close()
    ours, peer = socket.socketpair()
    stack.enter_context(ours)
    stack.enter_context(peer)
    assert ours.fileno() == number
    other = Server([ours], app)
    other.conn.on_disconnect(print)
    assert called.wait(PATIENCE)
    other.body.close()
    server.body.close()


def test_an_application_that_fails(pair):
    """Its request has ended."""
    held, _peer = pair
    found = []

    def failing(environ, _start_response):
        found.append(_wsgi.get(environ))
        raise LookupError

    with pytest.raises(LookupError):
        Server(held, failing)
    assert found[0].requests_in_hand == 0


class Wrapper(FileWrapper):
    """A server's own."""


@pytest.mark.parametrize("body", [[b"whole"], (b"whole",), Wrapper(None), io.BytesIO(b"whole")])
def test_a_whole_body_is_returned_as_it_is(pair, body):
    """A server looks at its class to send it well; nothing of the application runs in it."""
    held, _peer = pair
    environ = {"gunicorn.socket": held[0], "wsgi.file_wrapper": Wrapper}
    assert ConnectionMiddleware(lambda *_args: body)(environ, print) is body
    assert _wsgi.get(environ).requests_in_hand == 0


def test_a_closed_body_is_closed_once(pair):
    """A server that closes it again ends no other request."""
    held, _peer = pair
    server = Server(held, app)
    server.body.close()
    server.body.close()
    assert server.conn.requests_in_hand == 0


def test_current_conn_is_this(pair, stack):
    """A request context finds the Connection that the middleware has put there."""
    held, _peer = pair
    environ = {"REQUEST_METHOD": "GET", "SERVER_NAME": "a", "SERVER_PORT": "80", "PATH_INFO": "/"}
    environ |= {"wsgi.url_scheme": "http", "gunicorn.socket": held[0]}
    flask = Flask(__name__)
    stack.enter_context(flask.request_context(environ))
    assert current_conn.id == _wsgi.get(environ).id
    with pytest.raises(InvalidStateError, match="RawSocket is set up"):
        current_conn.on_disconnect(print)
