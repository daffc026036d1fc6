"""A chat over WebSocket, and a model's answer as Server-Sent Events: neither holds a thread."""

import asyncio

from flask import Blueprint, request

from example_app.extension import rawsocket
from flask_rawsocket import current_conn
from flask_rawsocket.streams import Event

LONGEST = 1000
"""The most bytes that a message may have."""
TEXT_ONLY = 1003
"""The close code for a binary message (RFC 6455, section 7.4.1)."""

WORDS = ["No", "thread", "waits", "for", "the", "next", "word", "."]
PACE = 0.25
"""Seconds between two of them."""

chat = Blueprint("chat", __name__)
room = rawsocket.group("chat")


@chat.get("/chat", websocket=True)
def join():
    return rawsocket.websocket(stay, current_conn.key, max_message_size=LONGEST)


async def stay(ws, name):
    """Serve a member, from when it joins to when it leaves."""
    try:
        with room.join(ws):
            tell("joined", name)
            async for text in ws:
                if isinstance(text, bytes):
                    await ws.close(TEXT_ONLY)
                else:
                    tell("said", name, text=text)
    finally:
        tell("left", name)


def tell(kind, who, **more):
    """Tell all members something."""
    room.send({"kind": kind, "who": who, "members": len(room), **more})


@chat.get("/tokens")
def tokens():
    """Answer from the beginning, or go on where a browser that comes back was cut off."""
    last = request.headers.get("Last-Event-ID", "")
    return rawsocket.events(answer(int(last) + 1 if last.isdecimal() else 0))


async def answer(begin):
    """Think for a moment about each word, as a model does."""
    for number, word in enumerate(WORDS[begin:], begin):
        await asyncio.sleep(PACE)
        yield Event({"token": word}, id=str(number))
    yield Event("", event="end")
