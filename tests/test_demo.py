"""`make demo`: where it listens, what it prints, and what it says when something is in the way."""

from __future__ import annotations

import importlib
import os
import runpy
import shutil
import signal
import socket
from pathlib import Path

import pytest
from launching import ROOT, launched, start
from servers import Client, client_context, held_port, wait_for

needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="apt install openssl")


@pytest.fixture
def example(monkeypatch):
    """Import a module of the example."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"example_app.{name}")


def tcp(url):
    host, port = url.rpartition("//")[2].split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def unix(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20)
    sock.connect(path)
    return sock


class Local(Client):
    """Asks for the host that the demo is on."""

    def about(self):
        return self.request("/api/connection", host="localhost").json

    def request(self, path, host):
        self.send(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        return self.response()


@pytest.mark.slow
@needs_openssl
class TestRunning:
    """The demo runs."""

    def test_everywhere(self, tmp_path):
        """It is reached over TCP, TLS and a UNIX socket, and has printed how, and nothing else."""
        with launched(tmp_path) as demo:
            with Local(tcp(demo.url)) as client:
                said = client.about()
                assert (said["key"], said["tls"], said["peer"]) == (client.key, None, None)
                assert said["tcp"]["rtt"] > 0
            with Local(unix(demo.unix)) as client:
                peer = client.about()["peer"]
                assert (peer["uid"], peer["pid"]) == (os.getuid(), os.getpid())
            with Local(client_context().wrap_socket(tcp(demo.tls_url))) as client:
                tls = client.about()["tls"]
                assert (tls["version"], tls["client"]) == ("TLSv1.3", None)
                page = client.request("/", "localhost").body.decode()
            # A client may show the demo's certificate.
            words = page.partition("--cert ")[2].split()
            context = client_context()
            context.load_cert_chain(words[0], words[2])
            context.set_alpn_protocols(["http/1.1"])
            with Local(context.wrap_socket(tcp(demo.tls_url))) as client:
                tls = client.about()["tls"]
                assert (tls["client"], tls["alpn"]) == ("commonName=localhost", "http/1.1")
            for command in (
                f"curl {demo.url}/api/connection",
                f"curl --insecure {demo.tls_url}/api/connection",
                f"curl --unix-socket {demo.unix} http://localhost/api/connection",
            ):
                assert command in page
                assert command in demo.log.read_text()
            assert demo.log.read_text().strip().endswith("Control-C ends it.")
        assert not Path(demo.unix).exists()

    def test_a_server_that_ends(self, tmp_path):
        """The demo ends when one of its servers does, and leaves none behind."""
        log = tmp_path / "log"
        with held_port() as port:
            places = {"DEMO_BIND": "127.0.0.1:0", "DEMO_TLS_BIND": f"127.0.0.1:{port}"}
            places["DEMO_SOCKET"] = str(tmp_path / "demo.sock")
            process = start(log, **places)
            wait_for(lambda: "Control-C" in log.read_text(), "the demo")
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            first, _ = (int(each) for each in children.read_text().split())
            os.kill(first, signal.SIGTERM)
            process.wait(20)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))


@pytest.mark.slow
def test_all_taken(tmp_path):
    """One paragraph names what is in the way, by whom, and what to type instead."""
    path, log = tmp_path / "demo.sock", tmp_path / "log"
    with socket.create_server(("127.0.0.1", 0)) as held, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        where = "127.0.0.1:{1}".format(*held.getsockname())
        process = start(log, DEMO_BIND=where, DEMO_TLS_BIND="", DEMO_SOCKET=str(path))
        assert process.wait(20) == 1
    said = log.read_text()
    port, by = where.rpartition(":")[2], f"is taken by process {os.getpid()} ("
    assert f"Port {port} of 127.0.0.1 {by}" in said
    assert f"The socket {path} {by}" in said
    assert "make demo DEMO_BIND=127.0.0.1:0 DEMO_SOCKET=" in said
    assert len(said.splitlines()) == 3


class TestListening:
    """What else may be in the way."""

    @pytest.mark.parametrize(
        ("where", "said"),
        [
            ("127.0.0.1", "not a HOST:PORT"),
            ("127.0.0.1:http", "not a HOST:PORT"),
            ("127.0.0.1:65536", "not a HOST:PORT"),
            ("192.0.2.1:0", "Cannot listen on 192.0.2.1:0"),
        ],
    )
    def test_tcp(self, example, where, said):
        listening = example("listening")
        with pytest.raises(listening.CannotListenError, match=said):
            listening.listen(where)

    def test_a_file(self, example, tmp_path):
        """A file that is not a socket is left alone."""
        listening, path = example("listening"), tmp_path / "notes"
        path.write_text("keep me")
        with pytest.raises(listening.CannotListenError, match="not a socket"):
            listening.listen(str(path), unix=True)
        assert path.read_text() == "keep me"

    def test_left_behind(self, example, tmp_path):
        """A socket that nobody listens on any more is replaced."""
        path = str(tmp_path / "demo.sock")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)
        with example("listening").listen(path, unix=True), unix(path):
            pass

    def test_ipv6(self, example):
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("this machine has no IPv6")
        with example("listening").listen("[::1]:0") as sock:
            assert sock.getsockname()[0] == "::1"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:1/"),
        ("0.0.0.0", "http://127.0.0.1:1/"),
        ("::", "http://[::1]:1/"),
    ],
)
def test_url(example, host, url):
    """A server on all hosts is reached on this one."""
    assert example("addresses").url("http", host, 1) == url


def test_defaults(example):
    """Without the environment the demo is where the README says."""
    assert example("__main__").DEFAULTS == {
        "DEMO_BIND": "127.0.0.1:8000",
        "DEMO_TLS_BIND": "127.0.0.1:8443",
        "DEMO_SOCKET": "/tmp/flask-rawsocket-demo.sock",
    }


@pytest.mark.parametrize(("environ", "log"), [({}, None), ({"DEMO_LOG": "-"}, "-")])
def test_log(monkeypatch, environ, log):
    """The requests are printed where somebody wants them."""
    monkeypatch.delenv("DEMO_LOG", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    settings = runpy.run_path(str(ROOT / "example_app" / "gunicorn.conf.py"))
    assert settings["accesslog"] == log


def test_without_openssl(example, monkeypatch, tmp_path):
    """There is no certificate then."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert example("certificate").make_certificate(tmp_path) is None


def test_without_tls(example, capsys):
    """The demo says what TLS needs."""
    example("__main__").tell({"DEMO_URL": "http://127.0.0.1:1/", "DEMO_SOCKET": "/a b"})
    said = capsys.readouterr().out
    assert "curl --unix-socket '/a b' http://localhost/api/connection" in said
    assert "no TLS: that needs the openssl program" in said
