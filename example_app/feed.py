"""What the page is told as it happens, as Server-Sent Events: no thread is held, nothing polls."""

import asyncio
from datetime import UTC, datetime

from flask import Blueprint

from example_app.extension import rawsocket
from example_app.facts import known, peer
from example_app.overview import overview
from example_app.own_page import refuse_others
from flask_rawsocket.streams import Event, current_stream

EVERY = 1.0
"""Seconds between two looks at the connections."""
LOOKS = 600
"""After so many a stream ends, and the browser comes back for another one."""
MOST_STREAMS = 32
"""The most streams of each kind at the same time."""

feed = Blueprint("feed", __name__)
feed.before_request(refuse_others)
changes = rawsocket.group("changes")
watching = set()
"""The streams that look at the connections."""


@rawsocket.on_state_change
def tell(conn, old, new):
    """Tell all pages of a change of state."""
    if not len(changes):
        return
    change = {
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "id": conn.id,
        "key": conn.key,
        "old": old and old.name,
        "new": new.name,
        "reason": conn.close_reason and conn.close_reason.name,
        "peer": known(lambda: peer(conn)),
    }
    changes.send(change)


@feed.get("/changes")
def watch_changes():
    if len(changes) >= MOST_STREAMS:
        return too_many()
    return rawsocket.events(changes.join())


@feed.get("/facts")
def watch_facts():
    if len(watching) >= MOST_STREAMS:
        return too_many()
    return rawsocket.events(look())


async def look():
    """Look at this stream's own connection, and at the others, once a second."""
    stream = current_stream
    conn = stream.connection
    watching.add(conn)
    try:
        for _ in range(LOOKS):
            yield Event(overview(conn), retry=1000)
            await asyncio.sleep(EVERY)
    finally:
        watching.discard(conn)


def too_many():
    return "Enough pages are open already.\n", 503, {"Retry-After": "20"}
