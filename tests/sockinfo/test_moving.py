"""A question about a socket that moves: asked again of the one that has it now, and of no other."""

from __future__ import annotations

import socket

import pytest

from flask_rawsocket import ConnectionClosedError
from flask_rawsocket.sockinfo import Options, cookie
from flask_rawsocket.sockinfo._moving import ask


def test_a_socket_that_moves_twice(pair):
    """Each time that the descriptor moves amid the question, the new socket is asked."""
    live, _ = pair("tcp4")
    asked, expected = [], cookie(live)

    def question(sock):
        nonlocal live
        asked.append(sock)
        if len(asked) < 3:
            live = socket.socket(fileno=sock.detach())
        return cookie(sock)

    assert ask(lambda: live, question) == expected
    assert len(set(map(id, asked))) == 3
    live.close()


def test_a_closed_socket_is_asked_once(pair):
    """One that has not moved is closed, and says so itself."""
    server, _ = pair("tcp4")
    server.close()
    asked = []

    def question(sock):
        asked.append(sock)
        return cookie(sock)

    with pytest.raises(ConnectionClosedError, match="cookie: the socket is closed"):
        ask(lambda: server, question)
    assert asked == [server]


@pytest.mark.slow
def test_options_of_a_socket_that_moves(pair):
    """Options are read and set on the socket that has the descriptor in the end."""
    first, _ = pair("tcp4")
    with socket.socket(fileno=first.detach()) as second:
        live = iter([first, second, second, first, second, second])
        options = Options(lambda: next(live))
        assert not options.keepalive
        options.keepalive = True
        assert second.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
