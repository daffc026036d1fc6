"""What lives on beside many connections is set aside for the garbage collector."""

from __future__ import annotations

import gc
import weakref

import pytest
from servers import wait_for
from streaming import echo, plain

from flask_rawsocket._asyncio import freezer as _freezer
from flask_rawsocket._asyncio.freezer import STEP, Freezer


@pytest.fixture(autouse=True)
def thawed():
    """Nothing is set aside before a test, nor after it."""
    gc.unfreeze()
    yield
    gc.enable()
    gc.unfreeze()


class Node:
    """Something that the collector looks at."""


def is_looked_at(thing):
    return any(each is thing for each in gc.get_objects())


def test_many_connections():
    """What is alive when there are many is set aside; what comes later is looked at."""
    freezer, early = Freezer(), Node()
    freezer.begun(STEP - 1)
    assert is_looked_at(early)
    freezer.begun(1)
    late = Node()
    assert not is_looked_at(early)
    assert is_looked_at(late)
    freezer.begun(STEP)
    assert not is_looked_at(late)


def test_garbage_is_not_set_aside():
    """What is garbage already is freed before."""
    freezer, garbage = Freezer(), Node()
    garbage.itself = garbage
    gone = weakref.ref(garbage)
    gc.disable()  # until the freezer is asked
    del garbage
    gc.enable()
    freezer.begun(STEP)
    assert gone() is None


def test_what_is_set_aside_is_freed_as_ever():
    """The last reference frees it, with no collection."""
    freezer, thing = Freezer(), Node()
    gone = weakref.ref(thing)
    freezer.begun(STEP)
    del thing
    assert gone() is None


def test_ends():
    """It is taken back when as many have ended as are left, and cycles in it are found then."""
    freezer, cycle = Freezer(), Node()
    cycle.itself = cycle
    gone = weakref.ref(cycle)
    freezer.begun(2 * STEP)
    del cycle
    for _ in range(STEP - 1):
        freezer.ended()
    gc.collect()
    assert gone() is not None
    freezer.ended()
    assert not gc.get_freeze_count()
    gc.collect()
    assert gone() is None


def test_as_many_come_as_go():
    """Cycles in what was set aside are found there, too, and the rest is set aside again."""
    freezer, kept, cycle = Freezer(), Node(), Node()
    cycle.itself = cycle
    gone = weakref.ref(cycle)
    freezer.begun(2 * STEP)
    del cycle
    for _ in range(2 * STEP):
        freezer.ended()
        freezer.begun(1)
    assert gone() is None
    assert not is_looked_at(kept)


def test_few_connections():
    """However many come one after the other, nothing is set aside while there are few at once."""
    freezer = Freezer()
    for _ in range(3 * STEP):
        freezer.begun(1)
        freezer.ended()
    assert not gc.get_freeze_count()


def test_an_application_that_freezes():
    """It is left alone: what it has set aside stays so, and what it has not is looked at."""
    frozen, freezer = Node(), Freezer()
    gc.freeze()
    thing = Node()
    freezer.begun(STEP)
    assert is_looked_at(thing)
    for _ in range(STEP):
        freezer.ended()
    assert not is_looked_at(frozen)


def test_an_application_without_a_collector():
    """No collection is made for it."""
    gc.disable()
    freezer, collections = Freezer(), []
    gc.callbacks.append(lambda *args: collections.append(args))
    try:
        freezer.begun(STEP)
    finally:
        gc.callbacks.pop()
    assert not collections
    assert not gc.get_freeze_count()


@plain
def test_connections_on_the_loop(connect, monkeypatch):
    """The loop says how many there are: something is set aside, until enough of them have left."""
    monkeypatch.setattr(_freezer, "STEP", 4)
    clients = []
    for _ in range(4):
        assert not gc.get_freeze_count()
        client, connection = connect()
        connection.hijack_async(echo)
        clients.append(client)
    wait_for(gc.get_freeze_count, "what is set aside")
    for client in clients[:2]:
        client.close()
    wait_for(lambda: not gc.get_freeze_count(), "that it is taken back")
    for client in clients[2:]:
        client.close()
