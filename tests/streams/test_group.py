"""Groups: who hears what, in which order, and what is left of it."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest
from servers import wait_for

from flask_rawsocket import InvalidStateError, RawSocket, RawSocketError
from flask_rawsocket.streams import LocalBroker, Message, _room
from flask_rawsocket.streams._live import loop
from flask_rawsocket.streams._writers import QUEUE_LIMIT


@pytest.fixture
def group():
    return RawSocket().group("g")


class Listener:
    """One who iterates a group on the event loop of the process."""

    def __init__(self, group, **join):
        self.heard = []
        before = len(group)
        self.done = asyncio.run_coroutine_threadsafe(self.listen(group, join), loop())
        wait_for(lambda: len(group) > before or self.done.done(), "the member")

    async def listen(self, group, join):
        async for data in group.join(**join):
            self.heard.append(data)
        return self.heard


def test_send(group):
    """Each member is given what was sent, as it was sent."""
    one, two = Listener(group), Listener(group)
    sent = ["text", b"bytes", {"a": [1]}, None]
    for each in sent:
        group.send(each)
    group.close()
    assert one.done.result(10) == two.done.result(10) == sent
    assert len(group) == 0
    assert repr(group) == "<Group 'g', 0 members>"
    assert group


def test_publishers_in_threads(group):
    """Eight threads publish at once: nothing is lost, and each one's messages stay in order."""
    listeners = [Listener(group) for _ in range(3)]
    count = 500

    def publish(number):
        for each in range(count):
            group.send([number, each])

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    group.close()
    for listener in listeners:
        heard = listener.done.result(20)
        assert len(heard) == 8 * count
        for number in range(8):
            assert [each for who, each in heard if who == number] == list(range(count))


def test_only_what_comes_after_joining(group):
    """A member hears what is sent from when it joins; with a last id also what it has missed."""
    first = Listener(group)
    group.send("before")
    wait_for(lambda: first.heard, "the message")
    second = Listener(group)
    group.send("after")
    wait_for(lambda: second.heard, "the message")
    third = Listener(group, last_event_id="unknown")
    group.close()
    assert first.done.result(10) == third.done.result(10) == ["before", "after"]
    assert second.done.result(10) == ["after"]


def test_history_is_bounded(group):
    """So many messages are kept, and so many bytes."""
    first = Listener(group)
    for number in range(_room.HISTORY + 50):
        group.send(number)
    late = Listener(group, last_event_id="gone")
    group.send("x" * 30000)
    group.send("y" * 30000)
    wait_for(lambda: len(first.heard) == _room.HISTORY + 52, "the messages")
    later = Listener(group, last_event_id="gone")
    group.close()
    assert late.done.result(10)[:1] == [50]
    assert [each[0] for each in later.done.result(10)] == ["y"]


def test_nobody_keeps_what_nobody_hears(group):
    """A message to a group without members is gone."""
    for _ in range(100):
        group.send("nobody")
    listener = Listener(group, last_event_id="x")
    group.close()
    assert listener.done.result(10) == []


def test_slow(group):
    """A member of another loop that does not take its messages is dropped, and told so."""

    async def listen():
        member = aiter(group.join())
        first = asyncio.ensure_future(anext(member))
        await asyncio.sleep(0)
        for _ in range(3):
            group.send("x" * (QUEUE_LIMIT // 2))
        await first
        with pytest.raises(RawSocketError, match="more than 64 KiB"):
            for _ in range(3):
                await anext(member)
        return len(group)

    # The loop of the process passes the messages on while this one is busy.
    async def busy():
        task = asyncio.ensure_future(listen())
        return await task

    assert asyncio.run(busy()) in (0, 1)
    wait_for(lambda: len(group) == 0, "the member to leave")


def test_joins_and_leaves(group):
    """Many come and go, and nothing of them is left."""
    rooms = group._rooms

    async def come_and_go():
        for _ in range(5000):
            member = aiter(group.join())
            waiting = asyncio.ensure_future(anext(member))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.sleep(0)

    asyncio.run_coroutine_threadsafe(come_and_go(), loop()).result(30)
    wait_for(lambda: len(group) == 0, "the members to leave")
    assert len(rooms) == 0
    gc.collect()


def test_wrong_use(group):
    """A block is for a WebSocket; and what is sent can be encoded, or its sender hears so."""
    with pytest.raises(InvalidStateError, match="for a WebSocket"), group.join():
        pass
    with pytest.raises(TypeError):
        group.send(object())
    with pytest.raises(ValueError, match="one line"):
        group.send("x", event="two\nlines")
    with pytest.raises(ValueError, match="surrogates"):
        group.send("\ud800")
    for code, reason in ((1006, ""), (999, ""), (1000, "x" * 124)):
        with pytest.raises(ValueError, match="RFC 6455"):
            group.close(code, reason)


def test_encoded_once():
    """All members are sent the same bytes."""
    message = Message({"a": 1}, event="e")
    message.id = "1"
    assert message.sse is message.sse
    assert message.sse_chunk is message.sse_chunk
    assert message.frame is message.frame
    assert message.sse == b'event: e\nid: 1\ndata: {"a": 1}\n\n'
    assert message.sse_chunk == b"%x\r\n%b\r\n" % (len(message.sse), message.sse)
    assert message.frame == b'\x81\x08{"a": 1}'
    assert Message(b"\xff").frame == b"\x82\x01\xff"


def test_broker():
    """What is published reaches the subscribers of that group until they take it back."""
    broker, heard = LocalBroker(), []
    end = broker.subscribe("a", heard.append)
    other = broker.subscribe("a", heard.append)
    messages = [Message(each) for each in "xyz"]
    broker.publish("a", messages[0])
    broker.publish("b", messages[1])
    end()
    broker.publish("a", messages[2])
    other()
    broker.publish("a", messages[1])
    assert heard == [messages[0], messages[0], messages[2]]
