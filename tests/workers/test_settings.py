"""gunicorn's settings as plain attributes: read as before, and set as before."""

from __future__ import annotations

import pytest

config = pytest.importorskip("gunicorn.config")

from flask_rawsocket.workers._settings import keep_plain


@pytest.fixture
def cfg():
    cfg = config.Config()
    cfg.set("keepalive", 7)
    keep_plain(cfg)
    return cfg


def test_every_setting_reads_as_before(cfg):
    """Each setting has the value that gunicorn's own way of asking gives."""
    for name, setting in cfg.settings.items():
        if not hasattr(config.Config, name):
            assert getattr(cfg, name) == setting.get(), name
    assert cfg.keepalive == 7


def test_nothing_is_looked_up(cfg, monkeypatch):
    """That is what it is for: a setting is an attribute like any other."""

    def refuse(_cfg, name):
        raise AssertionError(f"{name} was looked up")

    monkeypatch.setattr(config.Config, "__getattr__", refuse)
    assert cfg.keepalive == 7
    assert cfg.limit_request_line == 4094


def test_set(cfg):
    """What a hook sets is obeyed, validated, and seen in the setting itself."""
    cfg.set("keepalive", 3)
    assert (cfg.keepalive, cfg.settings["keepalive"].get()) == (3, 3)
    with pytest.raises(ValueError, match="must be positive"):
        cfg.set("keepalive", -1)
    with pytest.raises(AttributeError):
        cfg.set("no_such_setting", 1)
    assert cfg.keepalive == 3


def test_properties_stay(cfg):
    """What gunicorn computes of settings follows them."""
    assert not cfg.is_ssl
    cfg.set("certfile", "cert.pem")
    assert cfg.is_ssl


def test_a_hook_that_sets_is_obeyed(run_server, tmp_path):
    """`post_worker_init` changes a setting of the running worker: its requests are served by it."""
    conf = tmp_path / "conf.py"
    conf.write_text(
        "def post_worker_init(worker):\n    worker.cfg.set('limit_request_line', 100)\n"
    )
    with run_server("gthread", "tcp", "-c", str(conf)) as server, server.connect() as client:
        assert client.request("/").status == 200
        client.get("/?" + "x" * 200)
        assert client.response().status in {400, 414}  # by release
