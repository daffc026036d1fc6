"""Certificates that are replaced while a worker runs."""

from __future__ import annotations

import os
import signal
import socket
import ssl
from pathlib import Path

import pytest
from certificates import make_certificate
from servers import client_context, running, wait_for

pytestmark = pytest.mark.slow

COMPLAINT = "No TLS context can be made"


@pytest.fixture(params=["sync", "gthread"])
def worker(request):
    """The name of each of the workers."""
    return request.param


@pytest.fixture
def certificates(tmp_path):
    """The texts of two certificates and their keys."""
    texts = []
    for name in "first", "second":
        folder = tmp_path / name
        folder.mkdir()
        texts.append([Path(each).read_text() for each in make_certificate(folder)])
    return texts


@pytest.fixture
def files(tmp_path, certificates):
    """The paths that a server reads: of a certificate, and of its key."""
    paths = tmp_path / "cert.pem", tmp_path / "key.pem"
    for path, text in zip(paths, certificates[0], strict=True):
        path.write_text(text)
    return paths


def presented(server):
    """Shake hands; give the certificate that the server has presented."""
    with client_context().wrap_socket(server.raw()) as sock:
        return ssl.DER_cert_to_PEM_cert(sock.getpeercert(binary_form=True))


def is_answered_in_the_clear(server):
    """Begin a handshake; tell whether the answer is no TLS record."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context().wrap_bio(incoming, outgoing)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    with server.raw() as sock:
        sock.sendall(outgoing.read())
        sock.shutdown(socket.SHUT_WR)
        try:
            return sock.recv(5).startswith(b"HTTP")
        except ConnectionError:
            return False


def complaints(server):
    return server.log.read_text().count(COMPLAINT)


def reasons(server):
    return [each["why"] for each in server.events() if each.get("new") == "CLOSED"]


def half(text):
    return text[: len(text) // 2]


def test_rotation(tmp_path, worker, certificates, files):
    """Whatever the files go through, clients are served with the last good certificate."""
    (cert, _), (next_cert, next_key) = certificates
    cert_file, key_file = files
    with running(worker, "tls", tmp_path / "server", tuple(map(str, files))) as server:
        assert presented(server) == cert
        states = [
            lambda: cert_file.write_text(half(next_cert)),
            lambda: cert_file.write_text(next_cert),  # the key is still the first's
            lambda: key_file.write_text(half(next_key)),
            key_file.unlink,
        ]
        for number, replace in enumerate(states, 1):
            replace()
            for _ in range(3):
                assert presented(server) == cert
            assert complaints(server) == number
        key_file.write_text(next_key)
        assert presented(server) == next_cert
        assert complaints(server) == len(states)
        log = server.log.read_text()
        assert "the last one stays" in log
        assert "Invalid request" not in log


def test_no_good_one_yet(tmp_path, worker, certificates, files):
    """A worker that has never had a good one answers nobody in the clear, and recovers."""
    cert_file, key_file = files
    with running(worker, "tls", tmp_path / "server", tuple(map(str, files))) as server:
        key_file.write_text(half(certificates[0][1]))
        before = server.log.read_text().count("Booting worker")
        os.kill(server.process.pid, signal.SIGHUP)
        wait_for(lambda: complaints(server) == 1, "the new worker's complaint")
        wait_for(lambda: server.log.read_text().count("Booting worker") == before + 1, "it")
        wait_for(lambda: "Worker exiting" in server.log.read_text(), "the old one's end")
        for _ in range(3):
            assert not is_answered_in_the_clear(server)
        assert complaints(server) == 1
        wait_for(lambda: reasons(server)[-3:] == ["TLS_NOT_SET_UP"] * 3, "their ends")
        key_file.write_text(certificates[0][1])
        assert presented(server) == cert_file.read_text()
        log = server.log.read_text()
        assert "there is none to go on with" in log
        assert "Invalid request" not in log
        assert "Traceback" not in log
