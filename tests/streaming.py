"""Handlers of taken connections, and their peers."""

from __future__ import annotations

import socket
import ssl
import threading

import pytest
from servers import client_context, wait_for

from flask_rawsocket import ConnState
from flask_rawsocket._sockets.tls import TrackedSSLSocket
from flask_rawsocket._sockets.tls_context import track_tls
from flask_rawsocket._tracking.hooks import Hooks

BIG = bytes(range(250)) * 80_000
"""20 MB: more than the buffers of a loopback connection take."""


class Waiting(TrackedSSLSocket):
    """Needs to read before it can write, or the other way round, as where keys change."""

    to_read = 0
    """How many reads have to come first; there is data for them."""
    writes = 0
    """How many writes were tried before that."""
    to_write = 0
    """How many reads need to write first."""

    def send(self, data, flags=0):
        if self.to_read:
            self.writes += 1
            raise ssl.SSLWantReadError
        return super().send(data, flags)

    def read(self, len=1024, buffer=None):  # noqa: A002
        if self.to_write:
            self.to_write -= 1
            raise ssl.SSLWantWriteError
        data = super().read(len, buffer)
        self.to_read = max(0, self.to_read - 1)
        return data


def secured(client, sock, certificate, stack):
    """Shake hands; give the client's end and the server's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslsocket_class = Waiting
    context.load_cert_chain(*certificate)
    wrapped = []
    thread = threading.Thread(
        target=lambda: wrapped.append(track_tls(context).wrap_socket(sock, server_side=True))
    )
    thread.start()
    client = stack.enter_context(client_context().wrap_socket(client))
    thread.join()
    return client, wrapped[0]


plain = pytest.mark.parametrize("connect", ["plain"], indirect=True)
over_tls = pytest.mark.parametrize("connect", ["tls"], indirect=True)


def only_line(caplog):
    """Wait for what this package logs, which is one line, and give it."""
    (line,) = wait_for(
        lambda: [each for each in caplog.records if each.name == "flask_rawsocket"], "the line"
    )
    return line


def read_all(sock):
    data = b""
    while chunk := sock.recv(65536):
        data += chunk
    return data


def is_reset(sock):
    """Read to the end, past TLS, which calls a reset an end; tell whether it was a reset."""
    try:
        while socket.socket.recv(sock, 65536):
            pass
    except ConnectionResetError:
        return True
    return False


async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


def is_echoing(client):
    client.sendall(b"anybody there?")
    return client.recv(100) == b"anybody there?"


def closed_hook(tracker, function):
    """Have `function` called as a CLOSED hook; keep what is returned."""
    hooks = Hooks()
    hooks.add([ConnState.CLOSED], function)
    tracker.add_hooks(hooks)
    return hooks


def server_context(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def start_tls(client, stack):
    """Wait for the handler's word, and shake hands; give the client's TLS socket."""
    assert client.recv(3) == b"go\n"
    return stack.enter_context(client_context().wrap_socket(client))
