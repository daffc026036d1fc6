"""Real sockets for the tests of ``sockinfo``: pairs of every family, TLS among them."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
import time
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def _eventually(condition, seconds=10.0):
    """Return the first true answer of ``condition``, asked until the deadline."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, "the condition did not come true in time"
        threading.Event().wait(0.005)
    return answer


@pytest.fixture(scope="session")
def eventually():
    return _eventually


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
def tls_certificate(tmp_path_factory):
    """Return the path of a certificate for ``localhost`` with its key, and its DER bytes."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path, made.public_bytes(serialization.Encoding.DER)


@pytest.fixture
def contexts(tls_certificate):
    """Return the two contexts of a TLS connection: the server's, and a client's that trusts it."""
    path, _ = tls_certificate
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    client = ssl.create_default_context(cafile=path)
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

    def getsockopt(self, level, option, length=None):  # noqa: ARG002 - the signature is socket's
        answer = self.answers[level, option]
        if isinstance(answer, OSError):
            raise answer
        return answer

    def setsockopt(self, level, option, value):
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
