"""A chat over WebSocket: each member is a coroutine on one event loop, and holds no thread.

wsproto speaks the protocol (RFC 6455) and does no input or output; asyncio does that.
"""

import asyncio
import json
from urllib.parse import urlsplit

from flask import Blueprint, request
from wsproto import ConnectionType, WSConnection
from wsproto import events as ws_events
from wsproto.connection import ConnectionState
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from example_app.extension import rawsocket
from flask_rawsocket import current_conn

LONGEST = 1000
"""Characters that a message may have."""
WAITING = 100
"""Messages that may wait for a member who reads slowly, before it is let go."""
PATIENCE = 5
"""Seconds that what is left may take to be written to a member who has said goodbye."""

chat = Blueprint("chat", __name__)
members = set()
"""Only the event loop's thread changes it."""


@chat.get("/chat", websocket=True)
def join():
    # A browser sends a site's cookies along with whatever page opens a WebSocket to it.
    if urlsplit(request.headers.get("Origin", request.host_url)).netloc != request.host:
        return "This chat is for its own page.\n", 403
    protocol = WSConnection(ConnectionType.SERVER)
    headers = [(name.encode(), value.encode()) for name, value in request.headers]
    try:
        protocol.initiate_upgrade_connection(headers, request.path)
    except RemoteProtocolError as exc:
        return f"{exc}\n", 400
    current_conn.hijack_async(Member(current_conn.key, protocol).stay)
    return ""


@rawsocket.on_shutdown
def close():
    """Say goodbye.  This is another thread than the event loop's."""
    for member in list(members):
        member.loop.call_soon_threadsafe(member.send, ws_events.CloseConnection(code=1001))


def tell(kind, who, **more):
    """Tell all members something."""
    text = json.dumps({"kind": kind, "who": who, "members": len(members), **more})
    for member in list(members):
        member.send(ws_events.TextMessage(text))


class Member:
    """One connection to the chat."""

    def __init__(self, name, protocol):
        self.name = name
        self.protocol = protocol
        self.outgoing = asyncio.Queue(WAITING)
        self.message = ""

    async def stay(self, reader, writer):
        """Serve the connection, from its response to its end."""
        self.loop, self.task = asyncio.get_running_loop(), asyncio.current_task()
        self.send(ws_events.AcceptConnection())
        members.add(self)
        tell("joined", self.name)
        writing = asyncio.create_task(self.write(writer))
        try:
            await self.read(reader)
            self.outgoing.put_nowait(None)
            await asyncio.wait_for(writing, PATIENCE)
        except (ConnectionError, TimeoutError, asyncio.QueueFull):
            pass
        finally:
            writing.cancel()
            members.discard(self)
            tell("left", self.name)

    def send(self, event):
        """Have something sent, in its turn."""
        try:
            self.outgoing.put_nowait(self.protocol.send(event))
        except LocalProtocolError:
            pass  # One end has said goodbye; nothing may follow.
        except asyncio.QueueFull:
            self.task.cancel()

    async def write(self, writer):
        """Write what is sent, until `stay` says that there is no more."""
        while (data := await self.outgoing.get()) is not None:
            writer.write(data)
            await writer.drain()

    async def read(self, reader):
        """Read until either end says goodbye, or the peer leaves without."""
        while self.protocol.state is ConnectionState.OPEN and (data := await reader.read(4096)):
            self.protocol.receive_data(data)
            for event in self.protocol.events():
                self.received(event)

    def received(self, event):
        """Do what a part of the protocol asks for."""
        match event:
            case ws_events.TextMessage():
                self.message += event.data
                if len(self.message) > LONGEST:
                    self.send(ws_events.CloseConnection(code=1009))
                elif event.message_finished:
                    tell("said", self.name, text=self.message)
                    self.message = ""
            case ws_events.BytesMessage():
                self.send(ws_events.CloseConnection(code=1003))
            case ws_events.Ping() | ws_events.CloseConnection():
                self.send(event.response())
