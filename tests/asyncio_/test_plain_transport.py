"""What has ended is gone, with its transport, before any garbage collector comes."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
from servers import wait_for


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("end", ["by the peer", "by the handler", "by a reset"])
def test_nothing_waits_for_the_collector(connect, no_collector, end):
    """Streams, transport, socket and handler are freed when the connection has ended."""
    client, connection = connect()
    left, begun = {}, threading.Event()

    async def handler(reader, writer):
        left["reader"] = weakref.ref(reader)
        left["writer"] = weakref.ref(writer)
        left["transport"] = weakref.ref(writer.transport)
        left["protocol"] = weakref.ref(writer.transport.get_protocol())
        left["socket"] = weakref.ref(connection.sock)
        begun.set()
        if end != "by the handler":
            await reader.read()

    connection.hijack_async(handler)
    left["handler"] = weakref.ref(handler)
    del handler
    assert begun.wait(10)
    if end == "by a reset":
        connection.abort()
    elif end == "by the peer":
        client.close()
    for name, ref in left.items():
        wait_for(lambda ref=ref: ref() is None, f"the end of the {name}")
