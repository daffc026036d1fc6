"""`Readiness`: what it reports, once each, and to whom."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading

import pytest
from servers import wait_for

from flask_rawsocket.workers._readiness import WRITING, make_readiness

pytestmark = pytest.mark.skipif(
    not (hasattr(select, "epoll") or hasattr(select, "kqueue")), reason="neither epoll nor kqueue"
)


@pytest.fixture
def readiness():
    return make_readiness()


@pytest.fixture
def pair():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(each) for each in socket.socketpair()]


def fill(sock):
    """Write until there is no room."""
    sock.settimeout(0)
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.send(b"x" * 65536)


class TestReports:
    """What is reported, and when."""

    def test_nothing_to_read(self, readiness, pair):
        readiness.add(pair[0].fileno())
        assert readiness.wait(0) is None

    def test_once(self, readiness, pair):
        """It is reported once, although more comes, and what came is not read."""
        ours, theirs = pair
        readiness.add(ours.fileno())
        theirs.send(b"a")
        assert readiness.wait(5) == ours.fileno()
        theirs.send(b"b")
        assert readiness.wait(0) is None

    def test_what_was_there_before(self, readiness, pair):
        ours, theirs = pair
        theirs.send(b"a")
        readiness.add(ours.fileno())
        assert readiness.wait(5) == ours.fileno()

    def test_armed_again(self, readiness, pair):
        """What was not read is reported again; what comes between a report and that, too."""
        ours, theirs = pair
        readiness.add(ours.fileno())
        for _ in range(3):
            theirs.send(b"a")
            assert readiness.wait(5) == ours.fileno()
            readiness.arm(ours.fileno())
            assert readiness.wait(5) == ours.fileno()
            assert readiness.wait(0) is None
            ours.recv(10)
            readiness.arm(ours.fileno())
            assert readiness.wait(0) is None

    def test_an_end(self, readiness, pair):
        """The peer's end can be read; and it is not reported while it is not armed."""
        ours, theirs = pair
        readiness.add(ours.fileno())
        theirs.close()
        assert readiness.wait(5) == ours.fileno()
        assert readiness.wait(0) is None

    def test_writing(self, readiness, pair):
        """Armed so, it is reported when there is room, whatever there is to read."""
        ours, theirs = pair
        readiness.add(ours.fileno())
        theirs.send(b"a")
        assert readiness.wait(5) == ours.fileno()
        fill(ours)
        readiness.arm(ours.fileno(), WRITING)
        assert readiness.wait(0) is None
        theirs.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while theirs.recv(65536):
                pass
        assert readiness.wait(5) == ours.fileno()
        assert readiness.wait(0) is None

    def test_each_to_one_thread(self, readiness):
        """Of several threads that wait, one is told of each."""
        found = []
        with contextlib.ExitStack() as stack:
            pairs = [socket.socketpair() for _ in range(40)]
            for each in pairs:
                for sock in each:
                    stack.enter_context(sock)
                readiness.add(each[0].fileno())

            def look():
                while (fd := readiness.wait(2)) is not None:
                    found.append(fd)

            threads = [threading.Thread(target=look) for _ in range(4)]
            for each in threads:
                each.start()
            for _, theirs in pairs:
                theirs.send(b"a")
            wait_for(lambda: len(found) >= len(pairs), "all reports")
            for each in threads:
                each.join()
            assert sorted(found) == sorted(ours.fileno() for ours, _ in pairs)


class TestNumbers:
    """A descriptor's number may be another file's the next time."""

    def test_added_twice(self, readiness, pair):
        ours, theirs = pair
        readiness.add(ours.fileno())
        theirs.send(b"a")
        assert readiness.wait(5) == ours.fileno()
        readiness.add(ours.fileno())
        assert readiness.wait(5) == ours.fileno()
        assert readiness.wait(0) is None

    def test_closed(self, readiness):
        """It is not reported any more, and neither added nor armed."""
        ours, theirs = socket.socketpair()
        fd = ours.fileno()
        readiness.add(fd)
        ours.close()
        theirs.close()
        assert readiness.wait(0) is None
        for act in readiness.arm, readiness.add:
            with pytest.raises(OSError):  # noqa: PT011  EBADF
                act(fd)
        with pytest.raises((OSError, ValueError)):
            readiness.arm(-1)

    @pytest.mark.parametrize("how", ["add", "arm"])
    def test_used_again(self, readiness, pair, how):
        """The later file of the same number is reported, be it added or only armed."""
        first, first_peer = socket.socketpair()
        readiness.add(first.fileno())
        first_peer.send(b"a")
        fd = first.fileno()
        assert readiness.wait(5) == fd
        ours, theirs = pair
        os.dup2(ours.fileno(), fd)  # closes the first
        getattr(readiness, how)(fd)
        assert readiness.wait(0) is None
        theirs.send(b"b")
        assert readiness.wait(5) == fd
        assert readiness.wait(0) is None
        first.close()
        first_peer.close()


def waits(readiness):
    """Wait in a thread, without a limit; give an event that is set when that is over."""
    returned = threading.Event()

    def wait():
        if readiness.wait() is None:
            returned.set()

    threading.Thread(target=wait, daemon=True).start()
    return returned


class TestKick:
    """A report of nothing."""

    def test_before_the_wait(self, readiness):
        """It is not lost; several before one wait are one."""
        for _ in range(3):
            readiness.kick()
        assert waits(readiness).wait(20)
        later = waits(readiness)
        assert not later.wait(0.1)
        readiness.kick()
        assert later.wait(20)

    def test_amid_the_wait(self, readiness):
        """A thread that waits without a limit returns; one for each kick."""
        first, second = waits(readiness), waits(readiness)
        readiness.kick()
        wait_for(lambda: first.is_set() or second.is_set(), "one to return")
        readiness.kick()
        assert first.wait(20)
        assert second.wait(20)

    def test_hides_nothing(self, readiness, pair):
        """What is ready beside it is reported, by the next wait at the latest."""
        ours, theirs = pair
        readiness.add(ours.fileno())
        theirs.send(b"a")
        readiness.kick()
        assert {readiness.wait(5), readiness.wait(5)} == {None, ours.fileno()}
