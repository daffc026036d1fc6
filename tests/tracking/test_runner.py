"""`Runner`: slow calls in threads, so many at once and no more."""

from __future__ import annotations

import threading

import pytest
from servers import PATIENCE, wait_for

from flask_rawsocket._tracking import runner as _runner
from flask_rawsocket._tracking.runner import Runner


@pytest.fixture
def gate():
    """An event that lets jobs end; set at the latest when the test ends."""
    gate = threading.Event()
    yield gate
    gate.set()


def test_so_many_at_once_and_no_more(gate):
    """Jobs beyond the limit wait for the first to end, and none is lost."""
    runner, at_work, done = Runner("test", most=3), [], []

    def job():
        at_work.append(1)
        gate.wait(PATIENCE)
        done.append(1)

    for _ in range(10):
        runner.submit(job)
    wait_for(lambda: len(at_work) == 3, "three at work")
    assert not runner.wait(0.05)
    assert (len(at_work), runner.unfinished) == (3, 10)
    gate.set()
    assert runner.wait(PATIENCE)
    assert (len(done), runner.unfinished) == (10, 0)


def test_an_idle_thread_is_used_again(gate, monkeypatch):
    """A job that comes soon after another is done by the same thread; two at once are not."""
    monkeypatch.setattr(_runner, "_IDLE", PATIENCE)
    runner, idents = Runner("test"), []
    runner.submit(lambda: idents.append(threading.get_ident()))
    assert runner.wait(PATIENCE)
    wait_for(lambda: runner._idle == 1, "the thread to wait")
    runner.submit(lambda: (gate.wait(PATIENCE), idents.append(threading.get_ident())))
    wait_for(lambda: not (runner._jobs or runner._idle), "it to take the job")
    runner.submit(lambda: idents.append(threading.get_ident()))
    wait_for(lambda: len(idents) == 2, "the second")
    gate.set()
    assert runner.wait(PATIENCE)
    assert idents[2] == idents[0] != idents[1]


def test_threads_end(monkeypatch):
    """A thread for which there is nothing to do any more ends."""
    monkeypatch.setattr(_runner, "_IDLE", 0.01)
    runner = Runner("test-threads-end")
    runner.submit(bool)
    wait_for(lambda: not runner._threads, "the end")
    names = [each.name for each in threading.enumerate()]
    assert "test-threads-end" not in names


@pytest.mark.parametrize("error", [LookupError, SystemExit])
def test_a_job_that_fails(caplog, error):
    """It is logged, and the next one is done."""
    runner, done = Runner("test", most=1), []

    def fails():
        raise error("no such thing")

    runner.submit(fails)
    runner.submit(lambda: done.append(1))
    assert runner.wait(PATIENCE)
    assert done == [1]
    assert "no such thing" in caplog.text


@pytest.mark.parametrize("at_work", [False, True], ids=["no-thread", "one-thread"])
def test_no_thread_to_be_had(monkeypatch, gate, at_work):
    """Where no thread can be started the caller does the job, unless there is a thread for it."""
    runner, done = Runner("test"), []
    if at_work:
        runner.submit(lambda: gate.wait(PATIENCE))
        wait_for(lambda: not runner._jobs, "the first at work")

    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    runner.submit(lambda: done.append(threading.current_thread()))
    if at_work:
        assert done == []
    else:
        assert done == [threading.main_thread()]
    gate.set()
    assert runner.wait(PATIENCE)
    assert len(done) == 1
