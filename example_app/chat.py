"""A chat over WebSocket: each member is a coroutine on one event loop, and holds no thread.

wsproto implements the protocol (RFC 6455); asyncio does the input and output.
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
"""The most characters that a message may have."""
WAITING = 100
"""How many messages may wait for a member that reads slowly, before it is dropped."""
PATIENCE = 5
"""How long, in seconds, writing the rest may take after a member has said goodbye."""

chat = Blueprint("chat", __name__)
members = set()
"""Changed by the thread of the event loop only."""


@chat.get("/chat", websocket=True)
def join():
    # Any page may open a WebSocket to this site, and the browser sends this site's cookies along.
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
    """Say goodbye. This does not run in the thread of the event loop."""
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
        """Serve the connection, from the response to its end."""
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
        """Queue something to be sent."""
        try:
            self.outgoing.put_nowait(self.protocol.send(event))
        except LocalProtocolError:
            pass  # One end has said goodbye; nothing may be sent after that.
        except asyncio.QueueFull:
            self.task.cancel()

    async def write(self, writer):
        """Write what has been queued, until `stay` says that there is no more."""
        while (data := await self.outgoing.get()) is not None:
            writer.write(data)
            await writer.drain()

    async def read(self, reader):
        """Read until either end says goodbye, or the peer leaves without one."""
        while self.protocol.state is ConnectionState.OPEN and (data := await reader.read(4096)):
            self.protocol.receive_data(data)
            for event in self.protocol.events():
                self.received(event)
                # Many messages may come at once: let what they are told be written in between.
                await asyncio.sleep(0)

    def received(self, event):
        """Handle one event of the protocol."""
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
