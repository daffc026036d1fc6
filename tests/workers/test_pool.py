"""The threads of the pool: who waits, who serves, and that nothing is lost or served twice."""

from __future__ import annotations

import contextlib
import gc
import logging
import random
import socket
import threading
import time
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from servers import wait_for

from flask_rawsocket.workers._pool import Pool
from flask_rawsocket.workers._readiness import WRITING, make_readiness

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


class Conn:
    """A connection as the pool knows it; what its peer sends are calls, a byte each."""

    def __init__(self):
        self.sock, self.peer = socket.socketpair()
        self.fd = self.sock.fileno()

    def ask(self, what=b"q"):
        """Send a call: `q` is quick, `b` blocks until it is let go."""
        self.peer.send(what)


class Served:
    """A pool with connections of its own, and what it has served.

    Each connection is in `waiting` while the pool may claim it, as a worker's are in their queues.
    """

    def __init__(self, most):
        self.readiness = make_readiness()
        self.waiting = {}
        self.conns = []
        self.calls = []
        """The name of the thread that has served each, and what."""
        self.in_hand = Counter()
        self.twice = 0
        self.blocked = []
        self.failing = None
        self.pool = Pool(most, self.readiness, self.claim, self.serve, logging.getLogger("test"))

    def claim(self, fd):
        return self.waiting.pop(fd, None)

    def connect(self):
        conn = Conn()
        self.conns.append(conn)
        self.waiting[conn.fd] = conn
        self.readiness.add(conn.fd)
        return conn

    def serve(self, conn):
        self.in_hand[conn.fd] += 1
        self.twice += self.in_hand[conn.fd] > 1
        what = conn.sock.recv(1, socket.MSG_DONTWAIT)
        if what == b"b":
            go_on = threading.Event()
            self.blocked.append(go_on)
            go_on.wait(20)
        elif what == b"s":
            time.sleep(random.random() / 200)
        self.calls.append((threading.current_thread().name, what))
        self.in_hand[conn.fd] -= 1
        self.waiting[conn.fd] = conn
        self.readiness.arm(conn.fd)

    def count(self, what=b"q"):
        return sum(each == what for _, each in self.calls)

    def names(self, what=b"q"):
        return {name for name, each in self.calls if each == what}

    def block(self, conn):
        """Have a view of `conn` block; return when it does."""
        before = len(self.blocked)
        conn.ask(b"b")
        wait_for(lambda: len(self.blocked) > before, "a view to block")

    def release(self):
        for each in self.blocked:
            each.set()

    def close(self):
        self.release()
        self.pool.shutdown(timeout=20)
        for each in self.conns:
            each.sock.close()
            each.peer.close()


@pytest.fixture
def serving(stack):
    """A function that makes a pool of so many threads; it is shut down when the test ends."""

    def make(most):
        return stack.enter_context(contextlib.closing(Served(most)))

    return make


def threads_of(served):
    return list(served.pool._threads)


class TestTurns:
    """Who serves."""

    def test_one_thread(self, serving):
        """It serves one after the other; nobody else is started."""
        served = serving(1)
        conns = [served.connect() for _ in range(5)]
        for _ in range(20):
            for each in conns:
                each.ask()
        wait_for(lambda: served.count() == 100, "all to be served")
        assert served.names() == {"rawsocket-pool-0"}
        assert len(threads_of(served)) == 1

    def test_one_thread_that_blocks(self, serving):
        """What comes meanwhile waits, and is served then."""
        served = serving(1)
        first, second = served.connect(), served.connect()
        served.block(first)
        second.ask()
        served.pool.put(served.waiting.pop(served.connect().fd))
        served.conns[-1].ask()
        assert not served.calls
        served.release()
        wait_for(lambda: served.count() == 2, "both to be served")

    def test_not_more_than_it_takes(self, serving):
        """Quick calls one after the other take the leader, and a standby that waits beside it."""
        served = serving(4)
        conn = served.connect()
        for number in range(200):
            conn.ask()
            wait_for(lambda number=number: served.count() == number + 1, "it to be served")
        assert len(threads_of(served)) == 2

    @pytest.mark.parametrize("most", [2, 3, 4])
    def test_beside_views_that_block(self, serving, most):
        """With all threads but one blocked, the last serves the others; with all, nobody does."""
        served = serving(most)
        others = served.connect()
        for number in range(most - 1):
            served.block(served.connect())
            others.ask()
            wait_for(lambda number=number: served.count() == number + 1, "another to be served")
        served.block(served.connect())
        others.ask()
        assert len(threads_of(served)) == most
        assert served.count() == most - 1
        served.release()
        wait_for(lambda: served.count() == most, "the last to be served")
        wait_for(lambda: len(served.names(b"b")) == most, "all threads to be back")

    def test_all_threads_again(self, serving):
        """After views that blocked, as many can block again; none of the threads is lost."""
        served = serving(4)
        for round_ in range(10):
            for _ in range(4):
                served.block(served.connect())
            served.release()
            total = 4 * (round_ + 1)
            wait_for(lambda total=total: served.count(b"b") == total, "all to be back")
        assert len(threads_of(served)) == 4
        assert len(served.names(b"b")) == 4

    def test_the_leader_is_relieved_while_the_standby_naps(self, serving):
        """A call that the standby has left to a leader which blocks next is served by somebody."""
        served = serving(2)
        quick, blocking = served.connect(), served.connect()
        for number in range(100):
            served.blocked.clear()
            blocking.ask(b"b")
            quick.ask()
            wait_for(lambda number=number: served.count() == number + 1, "it to be served")
            wait_for(lambda: served.blocked, "the other to be called")
            served.release()
            wait_for(lambda number=number: served.count(b"b") == number + 1, "it to be back")

    def test_what_was_put_beside_what_is_ready(self, serving):
        """Neither is kept waiting by the other: those that were put have their turn."""
        served = serving(1)
        conns = [served.connect() for _ in range(3)]
        put = served.connect()
        served.block(conns[0])
        for each in conns:
            for _ in range(200):
                each.ask()
        put.ask(b"p")
        served.pool._ready.append(served.waiting.pop(put.fd))
        served.release()
        wait_for(lambda: served.count() == 600, "all to be served")
        names = [what for _, what in served.calls]
        assert names.index(b"p") < 10

    def test_two_puts_that_wake_one_thread(self, serving, monkeypatch):
        """The kicks of both are taken by the thread that serves the first, whose view blocks."""
        served = serving(2)
        first, second = served.connect(), served.connect()
        first.ask()
        wait_for(lambda: served.count() == 1 and len(threads_of(served)) == 2, "a standby")
        for conn, what in ((first, b"b"), (second, b"q")):
            wait_for(lambda conn=conn: served.waiting.pop(conn.fd, None), "it to wait")
            served.readiness.arm(conn.fd, WRITING)  # reported once, and claimed by nobody
            conn.ask(what)
        with monkeypatch.context() as patch:
            patch.setattr(served.readiness, "kick", lambda: None)
            served.pool.put(first)
            served.pool._ready.append(second)
        served.readiness.kick()
        wait_for(lambda: served.count() == 2, "the second to be served")
        assert served.blocked
        assert not served.count(b"b")

    def test_a_client_that_is_always_put(self, serving):
        """Those that the poller finds have their turn beside one that is put again and again."""
        served = serving(1)
        other, greedy = served.connect(), served.connect()
        del served.waiting[greedy.fd]
        turns = []

        def serve(conn):
            turns.append(conn)
            if conn is greedy and len(turns) < 1000:
                served.pool.put(conn)

        served.pool.shutdown(timeout=20)
        log = logging.getLogger("test")
        served.readiness = make_readiness()
        served.pool = Pool(1, served.readiness, served.claim, serve, log)
        other.ask()
        served.pool.put(greedy)
        served.readiness.add(other.fd)
        wait_for(lambda: len(turns) >= 1000, "all turns")
        assert turns.index(other) < 900


class TestStorm:
    """Very many calls."""

    @pytest.mark.parametrize("most", [1, 2, 4])
    def test_nothing_is_lost_or_served_twice(self, serving, most):
        """Thousands of calls, some of which sleep, from several clients."""
        served = serving(most)
        conns = [served.connect() for _ in range(20)]
        each_sends = 150

        def send(conn):
            for _ in range(each_sends):
                conn.ask(b"s" if random.random() < 0.05 else b"q")
                if random.random() < 0.2:
                    time.sleep(0)

        with ThreadPoolExecutor(4) as clients:
            list(clients.map(send, conns))
        total = each_sends * len(conns)
        wait_for(lambda: len(served.calls) == total, "all to be served", 40)
        assert not served.twice
        wait_for(lambda: len(served.waiting) == len(conns), "all to wait again")
        assert len(served.calls) == total
        assert len(threads_of(served)) <= most

    def test_puts_from_everywhere(self, serving):
        """What other threads put is served, once each, beside what the poller finds."""
        served = serving(4)
        conns = [served.connect() for _ in range(8)]
        found, lock = Counter(), threading.Lock()

        def serve(item):
            if isinstance(item, Conn):
                return usual(item)
            with lock:
                found[item] += 1
            return None

        usual, served.pool._serve = served.serve, serve
        served.pool.shutdown(timeout=20)
        served.readiness = make_readiness()
        for each in conns:
            served.readiness.add(each.fd)
        log = logging.getLogger("test")
        served.pool = Pool(4, served.readiness, served.claim, serve, log)

        def put(number):
            served.pool.put(number)
            if number % 5 == 0:
                conns[number % 8].ask()

        with ThreadPoolExecutor(4) as clients:
            list(clients.map(put, range(2000)))
        wait_for(lambda: len(found) == 2000, "all that was put")
        wait_for(lambda: served.count() == 400, "all that was asked")
        assert set(found.values()) == {1}


class TestEnds:
    """What is left when threads, or connections, end."""

    def test_shutdown(self, serving):
        """Threads that wait, rest or serve end; what is served is waited for."""
        served = serving(4)
        conns = [served.connect() for _ in range(4)]
        for each in conns:
            served.block(each)
        served.release()
        wait_for(lambda: served.count(b"b") == 4, "all to be back")
        served.block(conns[0])
        threads = threads_of(served)
        served.pool.shutdown(wait=False)
        wait_for(lambda: sum(each.is_alive() for each in threads) == 1, "the idle ones to end")
        served.pool.shutdown(timeout=0.01)
        assert sum(each.is_alive() for each in threads) == 1
        served.release()
        served.pool.shutdown()
        assert not any(each.is_alive() for each in threads)
        assert served.count(b"b") == 5

    @pytest.mark.parametrize("most", [1, 4])
    def test_shutdown_at_once(self, serving, most):
        """A pool that has served nothing ends, too."""
        served = serving(most)
        served.pool.shutdown()
        assert not any(each.is_alive() for each in threads_of(served))

    def test_shutdown_amid_a_storm(self, serving):
        """Wherever the threads are."""
        for _ in range(20):
            served = serving(4)
            conns = [served.connect() for _ in range(10)]
            for each in conns:
                for _ in range(20):
                    each.ask(random.choice([b"q", b"q", b"s"]))
            wait_for(lambda served=served: len(served.calls) > 10, "some to be served")
            served.pool.shutdown(timeout=20)
            assert not any(each.is_alive() for each in threads_of(served))
            assert not served.twice

    @pytest.mark.parametrize("how", ["claimed", "put"])
    def test_what_was_served_is_nobodys(self, how):
        """An idle pool does not keep the connection that it has served last, nor its threads."""
        readiness, served = make_readiness(), threading.Event()
        held = []

        def serve(conn):
            del conn
            served.set()

        pool = Pool(2, readiness, lambda _fd: held.pop(), serve, logging.getLogger("test"))
        conn = Conn()
        gone = weakref.ref(conn)
        peer, sock = conn.peer, conn.sock
        with peer, sock:
            if how == "put":
                pool.put(conn)
            else:
                held.append(conn)
                readiness.add(conn.fd)
                peer.send(b"q")
            del conn
            assert served.wait(20)
            wait_for(lambda: gc.collect() is not None and gone() is None, "it to be garbage")
            pool.shutdown(timeout=20)

    def test_what_cannot_be_claimed(self, serving):
        """A report of a connection that waits no more takes nobody, and hides nothing."""
        served = serving(2)
        gone, other = served.connect(), served.connect()
        del served.waiting[gone.fd]
        gone.ask()
        other.ask()
        wait_for(lambda: served.count() == 1, "the other to be served")
        assert len(served.calls) == 1


class TestNoThread:
    """No thread can be started."""

    @pytest.fixture
    def want(self, monkeypatch):
        """Threads cannot be started until the test undoes it."""

        def fail(thread):
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", fail)
            yield patch

    def test_none_at_first(self, serving, want, caplog):
        """The pool says so; what comes waits until there is one."""
        served = serving(3)
        assert served.pool.is_without_threads
        conn = served.connect()
        conn.ask()
        served.pool.retry()
        assert [each.message for each in caplog.records] == [
            "can't start new thread: serving with the 0 there are"
        ]
        want.undo()
        assert not served.calls
        served.pool.retry()
        assert not served.pool.is_without_threads
        wait_for(lambda: served.count() == 1, "it to be served")
        served.pool.retry()
        assert len(threads_of(served)) == 2  # the leader, and the standby it has had started

    def test_no_more(self, serving, monkeypatch, caplog):
        """With the threads there are it goes on; later there are more."""
        served = serving(3)
        conn, slow = served.connect(), served.connect()

        def fail(thread):
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", fail)
            for number in range(5):
                conn.ask()
                wait_for(lambda number=number: served.count() == number + 1, "it to be served")
            served.block(slow)
            conn.ask()
        assert [each.message for each in caplog.records] == [
            "can't start new thread: serving with the 1 there are"
        ]
        assert served.count() == 5
        served.release()
        wait_for(lambda: served.count() == 6, "what has waited")
        served.block(slow)
        conn.ask()
        wait_for(lambda: served.count() == 7, "another beside it")
        assert len(threads_of(served)) > 1
