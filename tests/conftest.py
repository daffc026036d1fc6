"""The fixtures: a certificate, and one running server for each server and transport."""

from __future__ import annotations

import contextlib
import datetime
import signal
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from servers import running

from flask_rawsocket._tracking.tracker import ConnectionTracker

# A shell's background jobs ignore it, and so would the servers that are started here.
signal.signal(signal.SIGINT, signal.default_int_handler)

SERVERS = ["werkzeug", "sync", "gthread"]
TRANSPORTS = ["tcp", "unix", "tls"]


WITH_WAITRESS = {
    "test_bad_peers.py",
    "test_close_reasons.py",
    "test_disconnect.py",
    "test_hijack.py",
    "test_sequences.py",
}
"""The files whose tests run on waitress too: those of what it shares with the other servers."""

READS_BODIES_FIRST = "waitress has read the whole body, and answered 100, before it calls the view"
HAS_NO_DEADLINES = "waitress's sockets do not block, and have neither deadlines nor minimum rates"
NOT_ON_WAITRESS = {
    "test_a_body_that_came_in_part": HAS_NO_DEADLINES,
    "test_a_deadline_that_is_kept": HAS_NO_DEADLINES,
    "test_deadlines_of_the_view_before": HAS_NO_DEADLINES,
    "test_body_too_slow": HAS_NO_DEADLINES,
    "test_read_deadline": HAS_NO_DEADLINES,
    "test_slow_reader": HAS_NO_DEADLINES,
    "test_write_deadline": HAS_NO_DEADLINES,
    "test_expect_continue_before_no_content": READS_BODIES_FIRST,
    "test_expect_continue_is_not_answered": READS_BODIES_FIRST,
    "test_expect_continue_that_nobody_awaits": READS_BODIES_FIRST,
    "test_expect_continue_that_nobody_reads": READS_BODIES_FIRST,
    "test_long_unread_body": READS_BODIES_FIRST,
    "test_unread_chunked_body": READS_BODIES_FIRST,
    "test_while_another_thread_reads_the_body": READS_BODIES_FIRST,
}
"""Their tests that do not, and why."""


def pytest_collection_modifyitems(items):
    """Leave out what there is not on waitress, such as TLS, and what need not be seen there."""
    left_out = []
    for item in items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        if "waitress" not in params.values():
            continue
        if params.get("transport") == "tls" or item.path.name not in WITH_WAITRESS:
            left_out.append(item)
        elif item.originalname in NOT_ON_WAITRESS:
            item.add_marker(pytest.mark.skip(reason=NOT_ON_WAITRESS[item.originalname]))
    items[:] = [each for each in items if each not in left_out]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """The paths of a self-signed certificate and its key."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


def make_certificate(folder):
    """Make a self-signed certificate and its key in `folder`; return their paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(paths[0]), str(paths[1])


@pytest.fixture(scope="session")
def run_server(tmp_path_factory, certificate):
    """A function that runs a server with options and environment of its own, as a context."""

    def run(name, transport="tcp", *options, **kwargs):
        folder = tmp_path_factory.mktemp(f"{name}-{transport}")
        return running(name, transport, folder, certificate, *options, **kwargs)

    return run


@pytest.fixture(scope="session")
def shared_servers(run_server):
    """The servers that tests share, started when first asked for.

    The thread worker calls a view before its body is there, as the others do; what it does with
    bodies otherwise is in `workers/test_receiving.py`.
    """
    env = {"CONTRACT_RAWSOCKET_BODY_BUFFER": "0"}
    with contextlib.ExitStack() as stack:
        started = {}

        def get(name, transport):
            if (name, transport) not in started:
                started[name, transport] = stack.enter_context(
                    run_server(name, transport, app="framing:app", env=env)
                )
            return started[name, transport]

        yield get


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    """Each of the transports."""
    return request.param


@pytest.fixture(params=[*SERVERS, "waitress"])
def server(request, transport, shared_servers):
    """Each of our servers over each transport, with nothing recorded as far as the test sees."""
    if (request.param, transport) == ("waitress", "tls"):
        pytest.skip("waitress has no TLS")
    found = shared_servers(request.param, transport)
    found.mark()
    return found


@pytest.fixture
def gthread(transport, shared_servers):
    """The thread worker over each transport, likewise."""
    found = shared_servers("gthread", transport)
    found.mark()
    return found


@pytest.fixture
def tracker():
    """A tracker of the test's own."""
    return ConnectionTracker()


@pytest.fixture
def stack():
    """What is entered here is left when the test ends."""
    with contextlib.ExitStack() as stack:
        yield stack
