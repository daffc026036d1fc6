"""A question about a socket that moves: asked again of the one that has it now, and of no other."""

from __future__ import annotations

import socket

import pytest
from accepting import dial, tcp_listener

from flask_rawsocket import ConnectionClosedError
from flask_rawsocket._connection.connection import life_of
from flask_rawsocket.sockinfo import cookie


def move(connection):
    """Move the descriptor to another socket object, as a hijack does."""
    return life_of(connection).sock.give_away()


def test_a_socket_that_moves_twice(tracker, stack):
    """Each time that the descriptor moves during the question, the new socket is asked."""
    _, sock = dial(stack, tcp_listener(tracker, stack))
    connection = sock.connection
    asked, expected = [], connection.cookie

    def question(sock):
        asked.append(sock)
        if len(asked) < 3:
            stack.enter_context(move(connection))
        return cookie(sock)

    assert connection._ask(question) == expected
    assert len(set(map(id, asked))) == 3


def test_a_closed_socket_is_asked_once(tracker, stack):
    """One that has not moved is closed, and the error says so."""
    _, sock = dial(stack, tcp_listener(tracker, stack))
    connection, asked = sock.connection, []

    def question(sock):
        asked.append(sock)
        socket.socket.detach(sock)
        return cookie(sock)

    with socket.socket(fileno=sock.dup().detach()), pytest.raises(ConnectionClosedError):
        connection._ask(question)
    assert asked == [sock]


def test_an_answer_of_a_descriptor_that_is_closed_meanwhile(tracker, stack):
    """It may be another connection's, so it does not count."""
    _, sock = dial(stack, tcp_listener(tracker, stack))
    connection = sock.connection

    def question(sock):
        sock.close()
        return "somebody else's"

    with pytest.raises(ConnectionClosedError):
        connection._ask(question)


def test_options_of_a_socket_that_moves(tracker, stack):
    """Options are read and set on the socket that has the descriptor in the end."""
    _, first = dial(stack, tcp_listener(tracker, stack))
    options = first.connection.options
    second = stack.enter_context(move(first.connection))
    assert not options.keepalive
    options.keepalive = True
    assert second.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
