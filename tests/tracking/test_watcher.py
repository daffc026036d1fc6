"""The watcher, over real connections: who is told, who is not, and what it costs."""

from __future__ import annotations

import _thread
import errno
import os
import select
import socket
import threading
import time
import warnings

import pytest
from accepting import dial, tcp_listener, unix_listener
from servers import PATIENCE, wait_for

from flask_rawsocket import (
    CloseReason,
    Connection,
    ConnectionClosedError,
    RawSocketError,
    UnsupportedError,
    sockinfo,
)
from flask_rawsocket._tracking.hangups import EpollHangups, PatchedHangups
from flask_rawsocket.sockinfo import PeerStatus
from flask_rawsocket.sockinfo._systems.pristine_select import pristine

SO_TIMESTAMPING = 37
SENT_BY_SOFTWARE = 1 << 1 | 1 << 4  # SOF_TIMESTAMPING_TX_SOFTWARE and _SOFTWARE


def in_thread(stack, function, *args):
    """Call `function` in a thread, and give a list that gets what it returned or raised."""
    results = []

    def run():
        try:
            results.append(function(*args))
        except RawSocketError as exc:
            results.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    stack.callback(thread.join, PATIENCE)
    return results


def replaced(stack, listener, sock, close):
    """Have `close` close `sock`; give a client and a connection that got its descriptor."""
    fd = sock.fileno()
    client = stack.enter_context(socket.create_connection(listener.getsockname()))
    while (filler := os.open(os.devnull, os.O_RDONLY)) < fd:  # the lowest that is free is taken
        stack.callback(os.close, filler)
    os.close(filler)
    close()
    next_sock, _ = listener.accept()
    stack.enter_context(next_sock)
    assert next_sock.fileno() == fd
    return client, next_sock


@pytest.fixture
def one_caller(monkeypatch, tracker, stack):
    """A watcher whose only thread for callbacks is at work until the event given is set."""
    monkeypatch.setattr(tracker._watcher._runner, "_most", 1)
    busy, leave = threading.Event(), threading.Event()
    stack.callback(leave.set)
    client, sock = dial(stack, tcp_listener(tracker, stack))
    sock.connection.on_disconnect(lambda: (busy.set(), leave.wait()))
    client.close()
    assert busy.wait(PATIENCE)
    return leave


def queue_length(tracker):
    return len(tracker._watcher._runner._jobs)


def test_it_is_told_once(tracker, stack):
    """A callback comes when the peer closes, once, and data before that does not matter."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    told = []
    sock.connection.on_disconnect(lambda: told.append(1))
    client.sendall(b"data that nobody reads")
    client.close()
    wait_for(lambda: told, "the callback")
    assert sock.recv(100) == b"data that nobody reads", "the watcher has read from the stream"
    sock.close()
    assert told == [1]


def test_a_peer_that_is_gone_already(tracker, stack):
    """A callback that comes late is called at once."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    client.close()
    told = threading.Event()
    wait_for(sock.connection.is_disconnected, "the FIN")
    sock.connection.on_disconnect(told.set)
    assert told.wait(5)


def test_it_can_be_taken_back(tracker, stack):
    """What was taken back is not called, even while another of the same connection is."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    told = []
    cancel = sock.connection.on_disconnect(lambda: told.append("first"))
    sock.connection.on_disconnect(lambda: told.append("second"))
    cancel()
    cancel()
    client.close()
    wait_for(lambda: told, "the callback")
    assert told == ["second"]


def test_it_is_forgotten_with_its_request(tracker, stack):
    """The end of the request ends the watching."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    client.sendall(b"x")
    sock.recv(1)
    told = []
    sock.connection.on_disconnect(lambda: told.append(1))
    assert len(tracker._watcher) == 1
    tracker.request_ended(sock.connection)
    assert len(tracker._watcher) == 0
    client.close()
    sock.close()
    other_client, other = dial(stack, tcp_listener(tracker, stack))
    other_client.close()
    assert other.connection.wait_disconnected(PATIENCE)
    assert not told


def test_it_is_forgotten_before_the_descriptor_closes(tracker, stack):
    """A closed connection is not watched, and its descriptor may be used again at once."""
    listener = tcp_listener(tracker, stack)
    told = []
    for number in range(50):
        client, sock = dial(stack, listener)
        sock.connection.on_disconnect(lambda number=number: told.append(number))
        if number % 2:
            client.close()
            wait_for(lambda number=number: number in told, "the callback")
        sock.close()
    assert len(tracker._watcher) == 0
    assert set(range(1, 50, 2)) <= set(told)


def test_a_closed_connection_is_not_watched(tracker, stack):
    """Watching what is closed is an error, also when it closes while one waits."""
    _, sock = dial(stack, tcp_listener(tracker, stack))
    connection = sock.connection
    sock.close()
    with pytest.raises(ConnectionClosedError):
        connection.on_disconnect(print)
    with pytest.raises(ConnectionClosedError):
        connection.wait_disconnected(0)


def test_watching_what_is_closed_meanwhile(tracker, stack, monkeypatch):
    """A connection that closes while it is being watched is not watched either."""
    _, sock = dial(stack, tcp_listener(tracker, stack))
    watch = tracker._watcher.watch

    def watch_late(connection, told, **kwargs):
        cancel = watch(connection, told, **kwargs)
        sock.close()
        return cancel

    monkeypatch.setattr(tracker._watcher, "watch", watch_late)
    with pytest.raises(ConnectionClosedError):
        sock.connection.on_disconnect(print)
    assert len(tracker._watcher) == 0


def test_watching_as_the_request_ends(tracker, stack, monkeypatch):
    """A watch that is made as the request ends leaves nothing behind after the close."""
    _, sock = dial(stack, tcp_listener(tracker, stack))
    sock.connection.on_disconnect(print)
    watch = tracker._watcher.watch

    def watch_late(connection, told, **kwargs):
        tracker.request_ended(connection)
        return watch(connection, told, **kwargs)

    monkeypatch.setattr(tracker._watcher, "watch", watch_late)
    sock.connection.on_disconnect(print)
    assert len(tracker._watcher) == 1
    sock.close()
    assert len(tracker._watcher) == 0


def test_a_descriptor_that_is_used_again(tracker, stack, monkeypatch):
    """A hang-up that was seen on a connection is not told of the next with its descriptor."""
    seen, go_on = threading.Event(), threading.Event()
    stack.callback(go_on.set)
    wait = EpollHangups.wait

    def wait_late(hangups):
        reported = wait(hangups)
        seen.set()
        go_on.wait(PATIENCE)
        return reported

    monkeypatch.setattr(EpollHangups, "wait", wait_late)
    listener = tcp_listener(tracker, stack)
    client, sock = dial(stack, listener)
    told = []
    sock.connection.on_disconnect(lambda: told.append("by the close, which sees it too"))
    client.shutdown(socket.SHUT_WR)
    assert seen.wait(PATIENCE)
    next_client, next_sock = replaced(stack, listener, sock, sock.close)
    statuses = []
    connection = next_sock.connection
    connection.on_disconnect(lambda: statuses.append(connection.peer_status()))
    go_on.set()
    # The thread is behind that report when it has told of another.
    other_client, other = dial(stack, listener)
    other_client.close()
    assert other.connection.wait_disconnected(PATIENCE)
    next_client.close()
    wait_for(lambda: statuses, "the callback")
    assert statuses == [PeerStatus.FIN_RECEIVED]
    assert len(told) == 1


def test_a_descriptor_is_read_under_the_lock(tracker, stack):
    """A watch whose connection closes before it is made takes no other's watch away."""
    listener = tcp_listener(tracker, stack)
    _, sock = dial(stack, listener)
    told = threading.Event()
    clients = []
    watcher = tracker._watcher
    lock = watcher._lock

    class Late:
        """The watcher's lock; on the way to it the descriptor becomes another connection's."""

        def __enter__(self):
            watcher._lock = lock
            client, next_sock = replaced(stack, listener, sock, sock.close)
            next_sock.connection.on_disconnect(told.set)
            clients.append(client)
            lock.acquire()

        def __exit__(self, *exc_info):
            lock.release()

    watcher._lock = Late()
    with pytest.raises(ConnectionClosedError):
        sock.connection.on_disconnect(print)
    clients[0].close()
    assert told.wait(PATIENCE)


def test_a_descriptor_closed_behind_our_back(tracker, stack):
    """Who takes a descriptor away without a word is forgotten when the number is used again."""
    listener = tcp_listener(tracker, stack)
    _, sock = dial(stack, listener)
    told_of_former = []
    sock.connection.on_disconnect(lambda: told_of_former.append(1))
    client, next_sock = replaced(
        stack, listener, sock, lambda: os.close(socket.socket.detach(sock))
    )
    told = threading.Event()
    next_sock.connection.on_disconnect(told.set)
    assert len(tracker._watcher) == 1
    client.close()
    assert told.wait(PATIENCE)
    assert not told_of_former


def test_a_descriptor_taken_behind_our_back(tracker, stack):
    """Of a descriptor that somebody has taken away without a word, nothing is told."""
    listener = tcp_listener(tracker, stack)
    client, sock = dial(stack, listener)
    told = []
    sock.connection.on_disconnect(lambda: told.append(1))
    stack.callback(os.close, socket.socket.detach(sock))
    client.close()
    other_client, other = dial(stack, listener)
    other_client.close()
    assert other.connection.wait_disconnected(PATIENCE)
    assert not told


@pytest.mark.skipif(not hasattr(select, "EPOLLRDHUP"), reason="the error queue is Linux's")
def test_a_message_in_the_error_queue(tracker, stack, monkeypatch):
    """A message in the error queue is no hang-up, and does not keep the thread busy."""
    reports = []
    wait = EpollHangups.wait

    def wait_counting(hangups):
        found = wait(hangups)
        reports.extend(found)
        return found

    monkeypatch.setattr(EpollHangups, "wait", wait_counting)
    listener = tcp_listener(tracker, stack)
    client, sock = dial(stack, listener)
    connection = sock.connection
    statuses = []
    connection.on_disconnect(lambda: statuses.append(connection.peer_status()))
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, SENT_BY_SOFTWARE)
    sock.sendall(b"data")
    wait_for(lambda: sock.fileno() in reports, "the report of the error")
    other_client, other = dial(stack, listener)
    other_client.close()
    assert other.connection.wait_disconnected(PATIENCE)
    assert statuses == []
    assert reports.count(sock.fileno()) < 5
    client.close()
    wait_for(lambda: statuses, "the callback")
    assert PeerStatus.OPEN not in statuses


def test_a_kernel_that_cannot_be_asked(tracker, stack, monkeypatch):
    """Where no answer is to be had the report stands."""

    def no_answer(connection):
        raise OSError(errno.EMFILE, "no descriptor for a kqueue")

    monkeypatch.setattr(Connection, "is_disconnected", no_answer)
    client, sock = dial(stack, tcp_listener(tracker, stack))
    told = threading.Event()
    sock.connection.on_disconnect(told.set)
    client.close()
    assert told.wait(PATIENCE)


def test_asking_amid_a_hijack(tracker, stack, monkeypatch):
    """A connection whose descriptor just moves to another socket object is not closed."""
    _, sock = dial(stack, tcp_listener(tracker, stack))
    ask = sockinfo.peer_status

    def ask_late(asked):
        if asked is sock:
            stack.enter_context(sock.give_away())
        return ask(asked)

    monkeypatch.setattr(sockinfo, "peer_status", ask_late)
    assert sock.connection.is_disconnected() is False


def test_one_of_two_registrations(tracker, stack):
    """Taking one registration back twice leaves another of the same function alone."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    told = []

    def callback():
        told.append(1)

    cancel = sock.connection.on_disconnect(callback)
    sock.connection.on_disconnect(callback)
    cancel()
    cancel()
    client.close()
    wait_for(lambda: told, "the callback")


def test_a_system_that_watches_no_more(tracker, stack, monkeypatch):
    """A refusal by the system is a typed error, and leaves nothing behind."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    add = EpollHangups.add

    def refuse(hangups, fd):
        raise OSError(errno.ENOSPC, "max_user_watches")

    monkeypatch.setattr(EpollHangups, "add", refuse)
    with pytest.raises(RawSocketError, match="max_user_watches") as caught:
        sock.connection.on_disconnect(print)
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert len(tracker._watcher) == 0
    monkeypatch.setattr(EpollHangups, "add", add)
    told = threading.Event()
    sock.connection.on_disconnect(told.set)
    client.close()
    assert told.wait(PATIENCE)


@pytest.mark.parametrize("taken_out", [("epoll",), ("epoll", "poll")], ids=["gevent", "eventlet"])
def test_a_patched_process(tracker, stack, monkeypatch, taken_out):
    """Where a library has taken epoll out of ``select``, what it has left there waits."""
    for name in taken_out:
        monkeypatch.delattr(select, name)
    client, sock = dial(stack, tcp_listener(tracker, stack))
    told = threading.Event()
    sock.connection.on_disconnect(told.set)
    assert isinstance(tracker._watcher._hangups, PatchedHangups)
    client.close()
    assert told.wait(PATIENCE)


def test_greenlets_without_their_select(tracker, stack, monkeypatch):
    """A thread that is none would stop all the others: that is refused."""
    monkeypatch.setattr(_thread, "start_new_thread", lambda *_args: None)
    _, sock = dial(stack, tcp_listener(tracker, stack))
    with pytest.raises(UnsupportedError, match="threads of this process are greenlets"):
        sock.connection.on_disconnect(print)


def test_a_system_without_epoll(tracker, stack, monkeypatch):
    """A system with neither epoll nor kqueue is named as the reason."""
    for name in ("epoll", "kqueue"):
        monkeypatch.delattr(select, name, raising=False)
        monkeypatch.delattr(pristine, name, raising=False)
    _, sock = dial(stack, tcp_listener(tracker, stack))
    with pytest.raises(UnsupportedError, match="epoll"):
        sock.connection.on_disconnect(print)


@pytest.mark.parametrize("error", [LookupError, SystemExit])
def test_a_failing_callback(tracker, stack, caplog, error):
    """A callback that fails is logged with its connection, and the others are called."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    told = threading.Event()

    def fails():
        raise error("no such thing")

    sock.connection.on_disconnect(fails)
    sock.connection.on_disconnect(told.set)
    client.close()
    assert told.wait(PATIENCE)
    wait_for(lambda: "no such thing" in caplog.text, "the log")
    assert "fails failed on <Connection" in caplog.text
    wait_for(lambda: not tracker._watcher._runner._threads, "the threads' ends")


def test_slow_callbacks(tracker, stack):
    """Callbacks that take their time keep no other waiting, nor who waits; their threads end."""
    listener = tcp_listener(tracker, stack)
    leave, told = threading.Event(), threading.Event()
    stack.callback(leave.set)
    at_work = []
    for _ in range(20):
        client, sock = dial(stack, listener)
        sock.connection.on_disconnect(lambda: (at_work.append(1), leave.wait()))
        client.close()
    wait_for(lambda: len(at_work) == 20, "20 callbacks at work")
    client, sock = dial(stack, listener)
    sock.connection.on_disconnect(told.set)
    client.close()
    assert told.wait(PATIENCE)
    leave.set()
    wait_for(lambda: not tracker._watcher._runner._threads, "the threads' ends")


def test_waiting_needs_no_caller(tracker, stack, one_caller):
    """Who waits is woken though every thread for callbacks is at work."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    client.close()
    results = in_thread(stack, sock.connection.wait_disconnected)
    assert wait_for(lambda: results, "the end") == [True]


@pytest.mark.parametrize("how", ["cancel", "request_ended"])
def test_a_queued_callback_that_is_not_wanted_any_more(tracker, stack, one_caller, how):
    """A callback in the queue is not called once it was taken back, or its request has ended."""
    listener = tcp_listener(tracker, stack)
    client, sock = dial(stack, listener)
    told = []
    cancel = sock.connection.on_disconnect(lambda: told.append("not wanted"))
    sock.connection.on_disconnect(lambda: told.append("wanted"))
    client.close()
    wait_for(lambda: queue_length(tracker) == 2, "the queue")
    if how == "cancel":
        cancel()
    else:
        tracker.request_ended(sock.connection)
        other_client, other = dial(stack, listener)
        other.connection.on_disconnect(lambda: told.append("wanted"))
        other_client.close()
        wait_for(lambda: queue_length(tracker) == 3, "the queue")
    one_caller.set()
    wait_for(lambda: told, "the callback")
    assert told == ["wanted"]


def test_a_callback_that_is_due_when_our_side_closes(tracker, stack, one_caller):
    """The peer is gone: the callback is made, once, though our side was quicker to close.

    Of 3,000 clients that left `hijack_async` handlers 2,309 were told of.
    """
    client, sock = dial(stack, tcp_listener(tracker, stack))
    told = []
    sock.connection.on_disconnect(lambda: told.append("gone"))
    client.close()
    wait_for(lambda: queue_length(tracker) == 1, "the queue")
    sock.close()
    one_caller.set()
    wait_for(lambda: told, "the callback")
    assert tracker._watcher._runner.wait(PATIENCE)
    assert told == ["gone"]


def test_a_callback_that_comes_when_others_are_queued(tracker, stack, one_caller):
    """Each is called once, though the kernel reports of the connection twice."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    told = []
    sock.connection.on_disconnect(lambda: told.append("first"))
    client.close()
    wait_for(lambda: queue_length(tracker) == 1, "the queue")
    sock.connection.on_disconnect(lambda: told.append("second"))
    wait_for(lambda: queue_length(tracker) == 3, "the queue")
    one_caller.set()
    wait_for(lambda: not tracker._watcher._runner._threads, "the threads' ends")
    assert told == ["first", "second"]
    assert len(tracker._watcher) == 0


def test_a_system_without_threads(tracker, stack, monkeypatch):
    """Where no thread is to be had, the callback is made nevertheless."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    told = threading.Event()
    sock.connection.on_disconnect(told.set)

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    client.close()
    assert told.wait(PATIENCE)


def test_a_forked_child_takes_no_watch_away(tracker, stack):
    """What a child takes back is still watched for its parent; the kernel's table is one."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    told = threading.Event()
    cancel = sock.connection.on_disconnect(told.set)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # there are threads
        child = os.fork()
    if child == 0:
        try:
            cancel()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    client.shutdown(socket.SHUT_WR)
    assert told.wait(PATIENCE)


def test_waiting_beyond_the_request(tracker, stack):
    """The end of the request does not end the waiting."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    results = in_thread(stack, sock.connection.wait_disconnected)
    wait_for(lambda: len(tracker._watcher), "the waiting")
    former = tracker._watcher._by_number[sock.connection.id]
    tracker.request_ended(sock.connection)

    def waits_again():
        return tracker._watcher._by_number.get(sock.connection.id) not in (None, former)

    wait_for(waits_again, "the waiting to go on")
    client.close()
    assert wait_for(lambda: results, "the end") == [True]
    assert len(tracker._watcher) == 0


def test_waiting_while_our_side_closes(tracker, stack):
    """A close on our side ends the waiting, and says so."""
    _, sock = dial(stack, tcp_listener(tracker, stack))
    results = in_thread(stack, sock.connection.wait_disconnected)
    wait_for(lambda: len(tracker._watcher), "the waiting")
    sock.close()
    (result,) = wait_for(lambda: results, "the end")
    assert isinstance(result, ConnectionClosedError)
    assert len(tracker._watcher) == 0


@pytest.mark.parametrize("reason", [CloseReason.STOPPED, CloseReason.PEER_CLOSED])
def test_waiting_while_our_side_is_shut_down(tracker, stack, reason):
    """Who has ended the connection is known, though the kernel shows an end of our own making."""
    _, sock = dial(stack, tcp_listener(tracker, stack))
    results = in_thread(stack, sock.connection.wait_disconnected)
    wait_for(lambda: len(tracker._watcher), "the waiting")
    connection, close = sock.connection, tracker._unwatch

    def shut_down_first(connection, **kwargs):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
        close(connection, **kwargs)

    tracker._unwatch = shut_down_first
    tracker.closed(connection, reason)
    (result,) = wait_for(lambda: results, "the end")
    if reason is CloseReason.PEER_CLOSED:
        assert result is True
    else:
        assert isinstance(result, ConnectionClosedError)


@pytest.mark.parametrize("timeout", [float("inf"), 1e300])
def test_waiting_without_end(tracker, stack, timeout):
    """A time that is longer than any clock counts is no limit."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    results = in_thread(stack, sock.connection.wait_disconnected, timeout)
    wait_for(lambda: len(tracker._watcher), "the waiting")
    client.close()
    assert wait_for(lambda: results, "the end") == [True]


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan")])
def test_waiting_for_no_time(tracker, stack, timeout):
    """No time at all, be it less than none or no number: it is asked, and that is the answer."""
    client, sock = dial(stack, tcp_listener(tracker, stack))
    assert sock.connection.wait_disconnected(timeout) is False
    client.close()
    wait_for(lambda: sock.connection.wait_disconnected(timeout), "the peer's end")


def test_waiting_for_a_peer_that_stays(tracker, stack):
    """`wait_disconnected` gives up in time, and leaves nothing behind."""
    _, sock = dial(stack, tcp_listener(tracker, stack))
    assert sock.connection.wait_disconnected(0.05) is False
    assert len(tracker._watcher) == 0


@pytest.mark.slow
def test_1000_watched_connections_cost_nothing(tracker, stack, tmp_path):
    """A thousand watched and idle connections use no processor time to speak of."""
    listener = unix_listener(tracker, stack, tmp_path / "s")
    clients = []
    for _ in range(1000):
        client, sock = dial(stack, listener)
        client.sendall(b"unread")
        sock.connection.on_disconnect(lambda: None)
        clients.append(client)
    never = threading.Event()
    before = time.process_time()
    never.wait(1.0)
    assert time.process_time() - before < 0.05
    assert len(tracker._watcher) == 1000
    for client in clients[:10]:
        client.shutdown(socket.SHUT_RDWR)
    wait_for(lambda: len(tracker._watcher) == 990, "ten of them")
