"""The event loop: handlers and their ends, failures, and its stop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import re
import socket
import ssl
import threading

import pytest
from servers import wait_for
from streaming import BIG, closed_hook, echo, is_echoing, is_reset, only_line, read_all

from flask_rawsocket import CloseReason, ConnState, RawSocketError
from flask_rawsocket._asyncio import served as _served
from flask_rawsocket._asyncio.event_loop import EventLoop
from flask_rawsocket._tracking.runner import Runner
from flask_rawsocket._tracking.tracker import ConnectionTracker


@contextlib.contextmanager
def blocked_loop(connection):
    """Have the loop stand still, in a handler of `connection`."""
    begun, leave = threading.Event(), threading.Event()

    async def block(reader, writer):
        begun.set()
        leave.wait(10)

    connection.hijack_async(block)
    assert begun.wait(10)
    try:
        yield
    finally:
        leave.set()


@pytest.mark.parametrize("handler", [None, "handler"])
def test_what_cannot_be_called(pair, handler):
    """It is refused before anything is taken over."""
    client, connection = pair
    with pytest.raises(TypeError, match="takes a coroutine function"):
        connection.hijack_async(handler)
    assert connection.state is ConnState.ACTIVE
    connection.hijack().close()
    assert client.recv(1) == b""


def test_abort(pair):
    """A transport that is aborted drops what it had to send."""
    client, connection = pair

    async def handler(reader, writer):
        writer.write(BIG)
        writer.transport.abort()

    connection.hijack_async(handler)
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        assert len(read_all(client)) < len(BIG)


def test_abort_of_the_connection(connect):
    """`conn.abort()` resets; the handler finds the end, and later connections are served."""
    client, connection = connect()
    begun, ended = threading.Event(), []

    async def handler(reader, writer):
        begun.set()
        ended.append(await reader.read())

    connection.hijack_async(handler)
    assert begun.wait(10)
    number = connection.fileno()
    connection.abort()
    wait_for(lambda: ended, "the handler's end")
    assert ended == [b""]
    assert is_reset(client)
    wait_for(lambda: connection.state is ConnState.CLOSED, "CLOSED")
    assert connection.close_reason.group is CloseReason.APP
    client.close()  # or the descriptor would be the next client's
    numbers = []
    for _ in range(4):
        later, served = connect()
        numbers.append(served.fileno())
        served.hijack_async(echo)
        assert is_echoing(later)
        later.close()
    assert number in numbers, "no later connection has had the same descriptor"


def test_abort_before_the_handler_begins(connect):
    """An abort that comes before the loop has opened the streams takes effect then."""
    client, connection = connect()
    began = []

    async def handler(reader, writer):
        began.append(True)

    with blocked_loop(connect()[1]):
        connection.hijack_async(handler)
        connection.abort()
    assert is_reset(client)
    wait_for(lambda: connection.state is ConnState.CLOSED, "CLOSED")
    assert began == []


def test_abort_while_the_rest_is_sent(pair):
    """A handler that has ended, and whose peer does not read, can still be aborted."""
    _, connection = pair
    ended = threading.Event()

    async def handler(reader, writer):
        writer.write(BIG)
        ended.set()

    connection.hijack_async(handler)
    assert ended.wait(10)
    connection.abort()
    wait_for(lambda: connection.state is ConnState.CLOSED, "CLOSED", 3)


def test_nobody_reads_what_is_left(pair, monkeypatch):
    """What a handler leaves to be sent waits for its peer for a while, not for ever."""
    _, connection = pair
    monkeypatch.setattr(_served, "_FLUSH_LIMIT", 0.1)

    async def handler(reader, writer):
        writer.write(BIG)

    connection.hijack_async(handler)
    wait_for(lambda: connection.state is ConnState.CLOSED, "CLOSED")


def test_the_peer_resets(pair):
    """A handler whose peer resets sees the end of its stream, and is not left waiting."""
    client, connection = pair
    ended = threading.Event()

    async def handler(reader, writer):
        try:
            while await reader.read(1000):
                pass
            while True:
                writer.write(BIG)
                await writer.drain()
        except OSError:
            pass
        finally:
            ended.set()

    connection.hijack_async(handler)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    assert ended.wait(10)


def test_a_handler_that_fails(pair, caplog):
    """What a handler raises is logged with its connection."""
    client, connection = pair

    async def handler(reader, writer):
        raise LookupError("no such thing")

    with caplog.at_level(logging.ERROR):
        connection.hijack_async(handler)
        assert read_all(client) == b""
    assert "no such thing" in caplog.text
    assert f"<Connection {connection.id} " in caplog.text


@pytest.mark.parametrize("exit_", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("in_a_task", [False, True])
def test_a_handler_that_exits(connect, caplog, exit_, in_a_task):
    """A handler that wants to exit ends nobody's connection but its own."""
    other, others = connect()
    others.hijack_async(echo)
    assert is_echoing(other)
    client, connection = connect()

    async def leave():
        raise exit_("goodbye")

    async def handler(reader, writer):
        await (asyncio.create_task(leave()) if in_a_task else leave())

    connection.hijack_async(handler)
    assert read_all(client) == b""
    assert re.search(
        f"test_a_handler_that_exits.* failed on <Connection {connection.id} ", caplog.text
    )
    assert is_echoing(other)
    other.close()


def test_a_handler_that_stops_the_loop(connect):
    """The loop is not a handler's to stop."""
    other, others = connect()
    others.hijack_async(echo)
    assert is_echoing(other)
    client, connection = connect()

    async def handler(reader, writer):
        asyncio.get_running_loop().stop()

    connection.hijack_async(handler)
    assert read_all(client) == b""
    assert is_echoing(other)
    other.close()


def test_the_peer_has_left(pair, caplog):
    """That the peer is gone is no failure of the handler's: it is one line, for information."""
    client, connection = pair
    caplog.set_level(logging.INFO)
    begun = threading.Event()

    async def handler(reader, writer):
        begun.set()
        while True:
            writer.write(BIG)
            await writer.drain()

    connection.hijack_async(handler)
    assert begun.wait(10)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    wait_for(lambda: connection.state is ConnState.CLOSED, "CLOSED")
    line = only_line(caplog)
    assert (line.levelno, line.exc_info) == (logging.INFO, None)
    assert re.match(
        r"<Connection \d+ .* has ended before its handler .*handler: \w+\(", line.message
    )


def test_a_peer_that_has_left_is_not_mentioned(pair, caplog):
    """A handler that takes it as it comes has asyncio say nothing of it either, now or later."""
    client, connection = pair
    waiters = []

    async def handler(reader, writer):
        waiters.append(writer._protocol._get_close_waiter(writer))
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(BIG)
                await writer.drain()

    connection.hijack_async(handler)
    (waiter,) = wait_for(lambda: waiters, "the handler")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    wait_for(lambda: connection.state is ConnState.CLOSED, "CLOSED")
    # What asyncio would complain of, if the garbage collector comes to it first.
    wait_for(lambda: waiter.done() and not waiter._log_traceback, "its error to be taken")
    assert waiter.exception() is not None
    assert not caplog.records


def test_another_peer_has_left(pair, caplog):
    """Where the connection is well, its handler's ConnectionError is another one's: a failure."""
    client, connection = pair

    async def handler(reader, writer):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "upstream")

    connection.hijack_async(handler)
    assert read_all(client) == b""
    assert "upstream" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("result", [None, "text"])
def test_a_handler_that_is_no_coroutine_function(pair, caplog, result):
    """What cannot be awaited is a TypeError that says so, with the connection."""
    client, connection = pair

    def handler(reader, writer):
        return result

    connection.hijack_async(handler)
    assert read_all(client) == b""
    assert (
        f"TypeError: the handler is not a coroutine function: it returned {result!r}" in caplog.text
    )
    assert f"<Connection {connection.id} " in caplog.text


def test_streams_that_cannot_be_opened(pair, caplog, monkeypatch):
    """Whatever is in the way is logged, and the connection is closed."""
    client, connection = pair

    def refuse(*args):
        raise RuntimeError("that descriptor is used by another transport")

    monkeypatch.setattr(_served.PlainTransport, "__init__", refuse)
    loop_class = asyncio.selector_events.BaseSelectorEventLoop
    monkeypatch.setattr(loop_class, "add_reader", refuse)
    connection.hijack_async(echo)
    assert read_all(client) == b""
    wait_for(lambda: connection.state is ConnState.CLOSED, "CLOSED")
    assert f"<Connection {connection.id} " in caplog.text
    assert "could not be served: RuntimeError('that descriptor" in caplog.text


def test_a_loop_that_cannot_be_made(pair, monkeypatch):
    """Where there are no descriptors left for a loop, that shows before the hijack."""
    _, connection = pair

    def refuse():
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(asyncio, "SelectorEventLoop", refuse)
    with pytest.raises(RawSocketError, match="Too many open files") as caught:
        connection.hijack_async(echo)
    assert isinstance(caught.value.__cause__, OSError)
    assert connection.state is ConnState.ACTIVE
    connection.hijack().close()


def test_stopping_cancels_the_handlers(pair, tracker):
    """A handler that waits is cancelled, can say goodbye, and its connection is closed."""
    client, connection = pair
    begun = threading.Event()

    async def handler(reader, writer):
        begun.set()
        try:
            await reader.read(1)
        except asyncio.CancelledError:
            writer.write(b"goodbye")
            raise

    connection.hijack_async(handler)
    assert begun.wait(10)
    assert tracker.stop_handlers(5)
    assert read_all(client) == b"goodbye"


def test_stopping_does_not_wait_for_peers(pair, tracker):
    """A cancelled handler's peer that does not read holds nothing up."""
    _, connection = pair
    begun = threading.Event()

    async def handler(reader, writer):
        writer.write(BIG)
        begun.set()
        await writer.drain()

    connection.hijack_async(handler)
    assert begun.wait(10)
    assert tracker.stop_handlers(4)
    assert connection.state is ConnState.CLOSED


def test_stopping_while_the_rest_is_sent(pair, tracker):
    """Nor does the peer of a handler that has ended."""
    _, connection = pair
    ended = threading.Event()

    async def handler(reader, writer):
        writer.write(BIG)
        ended.set()

    connection.hijack_async(handler)
    assert ended.wait(10)
    assert tracker.stop_handlers(4)
    assert connection.state is ConnState.CLOSED


def test_stopping_includes_the_hooks(pair, tracker):
    """When all have been stopped, the CLOSED hooks have run."""
    _, connection = pair
    begun, seen = threading.Event(), []

    def closed(conn, old, new):
        begun.wait(0.2)  # a hook that takes its time
        seen.append(new)

    hooks = closed_hook(tracker, closed)

    async def handler(reader, writer):
        started.set()
        await reader.read()

    started = threading.Event()
    connection.hijack_async(handler)
    assert started.wait(10)
    assert tracker.stop_handlers(5)
    assert seen == [ConnState.CLOSED]
    del hooks


def test_stopping_a_loop_that_is_blocked(pair, tracker):
    """A handler that blocks the loop is not waited for longer than was said."""
    with blocked_loop(pair[1]):
        assert not tracker.stop_handlers(0.05)


def test_closed_hooks_do_not_run_on_the_loop(pair, tracker):
    """A slow CLOSED hook of one connection does not stop the loop; it sees the descriptor open."""
    client, connection = pair
    seen = []

    def closed(conn, old, new):
        seen.append((threading.current_thread().name.split("_")[0], conn.fileno() >= 0))

    hooks = closed_hook(tracker, closed)

    async def handler(reader, writer):
        writer.write(b"done")

    connection.hijack_async(handler)
    assert read_all(client) == b"done"
    wait_for(lambda: seen, "the hook")
    assert seen == [("rawsocket-hooks", True)]
    del hooks


def test_waiting_for_those_taken_over_includes_their_hooks(pair, tracker):
    """A process that ends after `wait_hijacked` has not cut a CLOSED hook off."""
    _, connection = pair
    leave, seen = threading.Event(), []

    def closed(conn, old, new):
        leave.wait(10)
        seen.append(new)

    hooks = closed_hook(tracker, closed)

    async def handler(reader, writer):
        writer.write(b"done")

    connection.hijack_async(handler)
    wait_for(lambda: connection.state is ConnState.CLOSED, "CLOSED")
    assert not tracker.wait_hijacked(0.05)
    leave.set()
    assert tracker.wait_hijacked(10)
    assert seen == [ConnState.CLOSED]
    del hooks


def test_a_handler_that_does_not_stop(tracker, pair):
    """Stopping gives up on a handler that does not listen, in time; its connection is closed."""
    _, connection = pair
    begun, leave = threading.Event(), threading.Event()

    async def handler(reader, writer):
        begun.set()
        while not leave.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    connection.hijack_async(handler)
    assert begun.wait(10)
    assert not tracker.stop_handlers(0.05)
    wait_for(lambda: connection.state is ConnState.CLOSED, "CLOSED")
    leave.set()


def test_a_stop_without_a_loop():
    """Where no handler ever ran there is nothing to stop, and nothing to abort."""
    assert ConnectionTracker().stop_handlers(0)
    assert EventLoop(Runner("test")).stop(0)
    assert not EventLoop(Runner("test")).abort(object())


def test_many_handed_over_at_once(connect):
    """All begin, in the order in which they were handed over, however busy the loop has been."""
    others, order = [connect() for _ in range(5)], []
    with blocked_loop(connect()[1]):
        for client, connection in others:

            async def handler(reader, writer, connection=connection):
                order.append(connection)
                writer.write(await reader.readexactly(4))

            connection.hijack_async(handler)
            client.sendall(b"ping")
    for client, _ in others:
        assert read_all(client) == b"ping"
    assert order == [connection for _, connection in others]


def test_a_stop_includes_those_that_have_not_begun(connect, tracker):
    """What was handed over just before a stop is closed by it, like the others."""
    ending = threading.Thread(target=tracker.stop_handlers, args=[10])
    with blocked_loop(connect()[1]):
        others = [connect() for _ in range(3)]
        for _, connection in others:
            connection.hijack_async(echo)
        ending.start()
    ending.join(10)
    for client, connection in others:
        assert connection.state is ConnState.CLOSED
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            assert client.recv(1) == b""


def test_a_slow_close_delays_nobody(connect, tracker):
    """While the CLOSED hook of one takes its time, others are served, and end with their hooks."""
    _, slow = connect()
    leave, entered, seen = threading.Event(), threading.Event(), []

    def closed(conn, old, new):
        if conn is slow:
            entered.set()
            assert leave.wait(10)
        seen.append(conn)

    hooks = closed_hook(tracker, closed)

    async def handler(reader, writer):
        writer.write(await reader.read(4))

    async def end(reader, writer):
        """Return at once."""

    slow.hijack_async(end)
    assert entered.wait(10)
    others = [connect() for _ in range(3)]
    for client, connection in others:
        connection.hijack_async(handler)
        client.sendall(b"ping")
        assert read_all(client) == b"ping"
    wait_for(lambda: len(seen) == len(others), "the others' hooks")
    assert slow not in seen
    leave.set()
    wait_for(lambda: slow in seen, "its own")
    del hooks
