"""Whether a peer is a trusted proxy is found once, and found again where the setting changes."""

from __future__ import annotations

import pytest

config = pytest.importorskip("gunicorn.config")

from gunicorn.http import message

from flask_rawsocket.workers import _trust
from flask_rawsocket.workers._settings import keep_plain
from flask_rawsocket.workers._trust import is_allowed


@pytest.fixture
def found(monkeypatch):
    """The addresses that gunicorn is asked about; nothing is remembered yet."""
    found: list[str] = []
    real = _trust._find

    def find(address, allow_list, networks):
        found.append(address)
        return real(address, allow_list, networks)

    monkeypatch.setattr(_trust, "_find", find)
    monkeypatch.setattr(_trust, "_answers", {})
    return found


@pytest.fixture
def cfg():
    """A configuration as a worker has it."""
    cfg = config.Config()
    keep_plain(cfg)
    return cfg


def ask(cfg, address):
    return is_allowed(address, cfg.forwarded_allow_ips, cfg.forwarded_allow_networks())


@pytest.mark.parametrize(
    ("setting", "trusted", "others"),
    [
        ("127.0.0.1,::1", ["127.0.0.1", "::1"], ["127.0.0.2", "10.0.0.1", "not an address", ""]),
        ("10.0.0.0/8,fd00::/8", ["10.255.0.1", "fd00::7"], ["11.0.0.1", "fe80::1", "127.0.0.1"]),
        ("*", ["192.0.2.1", "not an address"], []),
        ("", [], ["127.0.0.1"]),
    ],
)
def test_the_answers_are_gunicorns(found, cfg, setting, trusted, others):
    """Addresses, networks and all; the first time and the second, which asks gunicorn nothing."""
    cfg.set("forwarded_allow_ips", setting)
    for _ in range(2):
        assert all(ask(cfg, each) for each in trusted)
        assert not any(ask(cfg, each) for each in others)
    assert found == trusted + others


def test_set(found, cfg):
    """A hook may change the setting while requests come in: networks, too."""
    assert ask(cfg, "127.0.0.1")
    cfg.set("forwarded_allow_ips", "10.0.0.0/8")
    assert not ask(cfg, "127.0.0.1")
    assert ask(cfg, "10.1.2.3")
    cfg.set("forwarded_allow_ips", "127.0.0.0/8")
    assert ask(cfg, "127.0.0.1")
    assert not ask(cfg, "10.1.2.3")
    assert ask(cfg, "127.0.0.2")


def test_two_settings(found, cfg):
    """``proxy_allow_ips`` is another list, and its answers are its own."""
    cfg.set("proxy_allow_ips", "10.0.0.1")
    assert ask(cfg, "127.0.0.1")
    assert not is_allowed("127.0.0.1", cfg.proxy_allow_ips, cfg.proxy_allow_networks())
    assert ask(cfg, "127.0.0.1")


def test_it_is_bounded(found, cfg, monkeypatch):
    """A million clients do not fill the memory."""
    monkeypatch.setattr(_trust, "_MOST", 4)
    for number in range(10):
        ask(cfg, f"192.0.2.{number}")
        assert len(_trust._answers) <= 4
    assert not ask(cfg, "192.0.2.0")


def test_gunicorns_own_is_asked():
    """What ours stands for is gunicorn's, not ours once more."""
    assert _trust._find is not is_allowed
    assert _trust._find.__module__ == message.__name__


PAGES = """
def app(environ, start_response):
    body = environ["wsgi.url_scheme"].encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

CONF = """
def pre_request(worker, req):
    if req.path == "/trust-nobody":
        worker.cfg.set("forwarded_allow_ips", "192.0.2.0/24")
    if req.path == "/trust-us":
        worker.cfg.set("forwarded_allow_ips", "127.0.0.0/8")
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gthread", "sync"])
def test_a_scheme_header_is_believed_or_not(run_server, tmp_path, name):
    """As the setting says at the time, on one connection as on several, with the same head."""
    (tmp_path / "pages.py").write_text(PAGES)
    conf = tmp_path / "conf.py"
    conf.write_text(CONF)
    header = "X-Forwarded-Proto: https"
    expected = [
        ("/", b"https"),
        ("/", b"https"),
        ("/trust-nobody", b"https"),  # its own head has been read
        ("/", b"http"),
        ("/", b"http"),
        ("/trust-us", b"http"),
        ("/", b"https"),
    ]
    with run_server(
        name, "tcp", "-c", str(conf), "--pythonpath", str(tmp_path), app="pages:app"
    ) as server:
        for path, scheme in expected:
            with server.connect() as client:
                assert client.request(path, header).body == scheme
        if name == "gthread":
            with server.connect() as client:
                assert [client.request(path, header).body for path, _ in expected] == [
                    scheme for _, scheme in expected
                ]


@pytest.mark.slow
def test_a_unix_peer(run_server, tmp_path):
    """It has no address, and is trusted as gunicorn does."""
    (tmp_path / "pages.py").write_text(PAGES)
    with (
        run_server("gthread", "unix", "--pythonpath", str(tmp_path), app="pages:app") as server,
        server.connect() as client,
    ):
        assert client.request("/", "X-Forwarded-Proto: https").body == b"https"
