"""``wsgi.errors`` goes wherever the error log goes at the time, and is one for all requests."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal

import pytest

config = pytest.importorskip("gunicorn.config")

from servers import wait_for

from flask_rawsocket.workers._errors import ErrorsStream, errors_stream, log_there


@pytest.fixture
def cfg():
    """A configuration with an error log of its own, whose handlers are gunicorn's."""
    cfg = config.Config()
    cfg.set("errorlog", "somewhere")
    return cfg


@pytest.fixture
def handler():
    """A handler of gunicorn's error log that writes to memory."""
    handler = logging.StreamHandler(io.StringIO())
    log = logging.getLogger("gunicorn.error")
    log.addHandler(handler)
    yield handler
    log.removeHandler(handler)


def test_it_is_one(cfg):
    """All requests have the same one; a worker with another configuration has another."""
    assert errors_stream(cfg) is errors_stream(cfg)
    other = errors_stream(config.Config())
    assert other is not errors_stream(cfg)


def test_it_writes_to_the_log(cfg, handler):
    """By write and by writelines, as PEP 3333 wants."""
    stream = errors_stream(cfg)
    stream.write("one\n")
    stream.writelines(["two\n", "three\n"])
    stream.flush()
    assert handler.stream.getvalue() == "one\ntwo\nthree\n"


def test_a_handler_with_another_file(cfg, handler):
    """As after USR1: what is written next goes there."""
    stream = errors_stream(cfg)
    stream.write("before\n")
    old = handler.setStream(io.StringIO())
    stream.write("after\n")
    assert (old.getvalue(), handler.stream.getvalue()) == ("before\n", "after\n")


def test_standard_error(handler, capsys):
    """Where the log goes there, it is gunicorn's way."""
    cfg = config.Config()
    assert cfg.errorlog == "-"
    errors_stream(cfg).write("to stderr\n")
    assert capsys.readouterr().err == "to stderr\n"


def test_a_request_cannot_close_it(cfg, handler):
    """It is the other requests' too."""
    stream = errors_stream(cfg)
    with stream:
        stream.write("inside\n")
    stream.close()
    assert not stream.closed
    stream.writelines(["still\n"])
    assert handler.stream.getvalue() == "inside\nstill\n"


def test_it_is_made_of_gunicorns(cfg):
    """Nothing but the configuration is looked at before it is written to."""
    stream = ErrorsStream(cfg)
    assert stream.cfg is cfg
    assert not stream.writable()  # as gunicorn's says


@contextlib.contextmanager
def as_in_a_worker():
    """Inside, our logger is as a worker has it, without the handlers of pytest."""
    log, root = logging.getLogger("flask_rawsocket"), logging.getLogger()
    before = log.handlers[:], root.handlers[:], log.propagate
    log.handlers[:], root.handlers[:], log.propagate = [], [], True
    log_there()
    yield log
    log.handlers[:], root.handlers[:], log.propagate = before


def test_our_lines(handler):
    """They are in the error log, once however often that was asked for; details are not."""
    with as_in_a_worker() as ours:
        log_there()
        ours.warning("a warning")
        ours.getChild("websocket").error("an error")
        ours.info("a detail")
    assert handler.stream.getvalue() == "a warning\nan error\n"


def test_our_lines_without_an_error_log(capsys):
    """Where gunicorn has no log yet, they go where Python sends what nobody handles."""
    with as_in_a_worker() as ours:
        ours.warning("early")
    assert capsys.readouterr().err == "early\n"


@pytest.mark.parametrize("name", [None, "flask_rawsocket"])
def test_our_lines_where_the_application_logs(handler, name):
    """An application that has handlers of its own for them has them alone."""
    own = logging.StreamHandler(io.StringIO())
    with as_in_a_worker() as ours:
        logging.getLogger(name).addHandler(own)
        ours.warning("once")
    assert (own.stream.getvalue(), handler.stream.getvalue()) == ("once\n", "")


OURS = """
from flask import Flask

from flask_rawsocket import RawSocket

app = Flask(__name__)
app.config["RAWSOCKET_HEADER_TIMOUT"] = 1
RawSocket(app)
"""


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--preload",)])
def test_our_lines_in_a_file(run_server, tmp_path, options):
    """With ``--error-logfile`` they are there, from the import of the application on."""
    (tmp_path / "ours.py").write_text(OURS)
    log = tmp_path / "error.log"
    options = (*options, "--pythonpath", str(tmp_path), "--error-logfile", str(log))
    with run_server("gthread", "tcp", *options, app="ours:app") as server:
        with server.connect() as client:
            assert client.request("/").status == 404
        assert "[WARNING] RAWSOCKET_HEADER_TIMOUT is not a setting" in log.read_text()


PAGES = """
def app(environ, start_response):
    environ["wsgi.errors"].write("said by " + environ["PATH_INFO"] + "\\n")
    start_response("200 OK", [("Content-Length", "0")])
    return []
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gthread", "sync"])
def test_usr1(run_server, tmp_path, name):
    """After the log was moved away and reopened, the application writes to the new file."""
    (tmp_path / "pages.py").write_text(PAGES)
    log, moved = tmp_path / "error.log", tmp_path / "error.log.1"
    options = ("--pythonpath", str(tmp_path), "--error-logfile", str(log))
    with run_server(name, "tcp", *options, app="pages:app") as server:
        with server.connect() as client:
            assert client.request("/before").status == 200
        log.rename(moved)
        os.kill(server.process.pid, signal.SIGUSR1)
        wait_for(log.exists, "a new log")

        def asked_again():
            with server.connect() as client:
                assert client.request("/after").status == 200
            return "said by /after" in log.read_text()

        wait_for(asked_again, "the application's line in the new log")
    assert "said by /before" in moved.read_text()
