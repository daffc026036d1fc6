"""No thread to be had: a worker serves with those there are, says so, and loses nothing."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from servers import wait_for

from flask_rawsocket.workers._pool import Pool

NO_THREADS = """
import os, threading

usual = threading.Thread.start

def start(thread):
    if not os.path.exists({path!r}):
        raise RuntimeError("can't start new thread")
    usual(thread)

def {hook}:
    threading.Thread.start = start
"""
"""A configuration: from the hook on, no thread can be started while there is no file there."""


def configured(folder, hook):
    """Give the options for a gunicorn without threads, and the file that ends the want."""
    end = folder / "threads-again"
    conf = folder / "conf.py"
    conf.write_text(NO_THREADS.format(path=str(end), hook=hook))
    return ("-c", str(conf)), end


def ask(server):
    with server.connect() as client:
        return client.request("/", "Connection: close").json["pid"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gthread", "sync"])
def test_no_more_threads(run_server, name, tmp_path):
    """LibreTranslate#716: `can't start new thread`; plain gthread's worker crashes then."""
    options, _ = configured(tmp_path, "post_worker_init(worker)")
    with run_server(name, "tcp", *options) as server, ThreadPoolExecutor(12) as clients:
        pids = set(clients.map(lambda _: ask(server), range(60)))
        assert len(pids) == 1
        log = server.log.read_text()
        assert log.count("can't start new thread") == 1
        assert server.stop() == 0
        log = server.log.read_text()
        assert "Traceback" not in log
        assert {"shutdown": True} in server.events()


@pytest.mark.slow
def test_not_even_one(run_server, tmp_path):
    """Requests wait, and are answered when there is one again."""
    # The pool is made before any other hook that runs in the worker.
    options, end = configured(tmp_path, "post_fork(server, worker)")
    end.touch()
    with run_server("gthread", "tcp", *options, "--max-requests", "4") as server:
        old = ask(server)
        end.unlink()
        with ThreadPoolExecutor(8) as clients:
            last = [clients.submit(ask, server) for _ in range(4)]
            wait_for(lambda: "serving with the 0 there are" in server.log.read_text(), "the want")
            first = [clients.submit(ask, server) for _ in range(4)]
            end.touch()
            assert len({old, *(each.result() for each in last + first)}) > 1
        assert "Traceback" not in server.log.read_text()


def test_the_call_that_was_queued(monkeypatch, caplog):
    """Its future is there although no thread could be started for it; later there are more."""
    log = logging.getLogger("test")
    with Pool(3, log) as pool:
        busy, free = threading.Event(), threading.Event()
        pool.submit(bool).result()
        pool.submit(lambda: (busy.set(), free.wait()))
        assert busy.wait(20)

        def fail(thread):
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", fail)
            waiting = [pool.submit(int, str(each)) for each in range(3)]
        assert [each.message for each in caplog.records] == [
            "can't start new thread: serving with the 1 there are"
        ]
        assert not any(each.done() for each in waiting)
        assert pool.submit(int, "4").result(20) == 4  # in a second thread
        assert [each.result(20) for each in waiting] == [0, 1, 2]
        free.set()
