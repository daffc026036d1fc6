"""Real sockets for the tests of ``sockinfo``: pairs of every family, TLS among them."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest


def _listener(kind):
    if kind == "tcp4":
        return socket.create_server(("127.0.0.1", 0))
    if kind == "tcp6":
        return socket.create_server(("::1", 0), family=socket.AF_INET6)
    if kind == "mapped":
        listener = socket.socket(socket.AF_INET6)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("::ffff:127.0.0.1", 0))
        listener.listen()
        return listener
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("")  # autobind: an abstract name that the kernel picks
    listener.listen()
    return listener


def _dial(kind, listener):
    if kind == "unix":
        client = socket.socket(socket.AF_UNIX)
        client.connect(listener.getsockname())
        return client
    host = {"tcp4": "127.0.0.1", "tcp6": "::1", "mapped": "127.0.0.1"}[kind]
    return socket.create_connection((host, listener.getsockname()[1]), timeout=10)


@pytest.fixture
def pair():
    """A maker of connected pairs, of server and client, of a kind."""
    with ExitStack() as stack:

        def make(kind, prepare=None):
            listener = stack.enter_context(_listener(kind))
            if prepare is not None:
                prepare(listener)
            client = stack.enter_context(_dial(kind, listener))
            client.settimeout(None)
            server = stack.enter_context(listener.accept()[0])
            return server, client

        make.listener = lambda kind: stack.enter_context(_listener(kind))
        yield make


@pytest.fixture(scope="session")
def certificate_der(certificate):
    """The bytes of the certificate."""
    return ssl.PEM_cert_to_DER_cert(Path(certificate[0]).read_text())


@pytest.fixture
def contexts(certificate):
    """Return the two contexts of a TLS connection: the server's, and a client's that trusts it."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*certificate)
    client = ssl.create_default_context(cafile=certificate[0])
    return server, client


@contextmanager
def _handshaken(pair, contexts, **client_options):
    server_context, client_context = contexts
    raw_server, raw_client = pair("tcp4")
    raw_server.settimeout(10)
    raw_client.settimeout(10)
    wrapped = []

    def accept():
        wrapped.append(server_context.wrap_socket(raw_server, server_side=True))

    thread = threading.Thread(target=accept)
    thread.start()
    options = {"server_hostname": "localhost"} | client_options
    try:
        client = client_context.wrap_socket(raw_client, **options)
    finally:
        thread.join(10)
    with wrapped[0] as server, client:
        yield server, client


@pytest.fixture
def tls(pair, contexts):
    """A maker of TLS connections: context managers that give server and client."""

    def make(**client_options):
        return _handshaken(pair, contexts, **client_options)

    return make


class Recorded(socket.socket):
    """A socket whose ``getsockopt`` answers what another system's kernel would have answered."""

    answers = None
    """By level and option: bytes, a number, or an ``OSError`` to raise."""
    family = socket.AF_INET  # type: ignore[assignment]
    name = ("127.0.0.1", 1)
    refuses = None
    """An ``OSError`` to raise whatever is set."""

    def getsockopt(self, level, option, length=None):  # noqa: ARG002 - the signature is socket's
        answer = self.answers[level, option]
        if isinstance(answer, OSError):
            raise answer
        return answer

    def setsockopt(self, level, option, value):
        if self.refuses is not None:
            raise self.refuses
        self.answers[level, option] = value

    def getsockname(self):
        return self.name


@pytest.fixture
def recorded():
    """Return a maker of open sockets with recorded answers."""
    with ExitStack() as stack:

        def make(answers, family=socket.AF_INET, name=("127.0.0.1", 1)):
            sock = stack.enter_context(Recorded())
            sock.answers, sock.family, sock.name = answers, family, name
            return sock

        yield make
