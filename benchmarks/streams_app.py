"""The application of ``streams.py``: event streams, WebSockets, and what a broadcast costs."""

from __future__ import annotations

import asyncio
import queue
import time
from typing import TYPE_CHECKING, Any

import app as apps

from flask_rawsocket.streams._live import loop
from flask_rawsocket.streams._message import Message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Flask

    from flask_rawsocket import RawSocket

GROUP = "everybody"
SAID = 16_000
"""The bytes that are said at once, beside a reader that stalls."""


def streaming() -> Flask:
    """Make the application."""
    app = apps.with_rawsocket()
    rawsocket: RawSocket = app.extensions["rawsocket"]
    group = rawsocket.group(GROUP)

    @app.get("/events")
    def events() -> Any:
        return rawsocket.events(group.join())

    @app.route("/ws", websocket=True)
    @rawsocket.websocket_view
    async def ws(ws: Any) -> None:
        with group.join(ws):
            async for _ in ws:
                pass

    @app.get("/members")
    def members() -> dict[str, int]:
        return {"members": len(group)}

    @app.get("/say")
    def say() -> dict[str, int]:
        group.send("x" * SAID)
        return {"members": len(group)}

    @app.get("/broadcast")
    def broadcast() -> dict[str, float]:
        """Send to all; say how long the loop took for it, and for bare writes of the same."""
        running = loop()
        return {
            "bare": asyncio.run_coroutine_threadsafe(_bare(rawsocket), running).result(60),
            "group": asyncio.run_coroutine_threadsafe(_group(rawsocket), running).result(60),
        }

    return app


def with_a_queue() -> Flask:
    """Make the application whose generators wait for a queue, each in its thread."""
    app = apps.flask_alone()
    clients: set[queue.SimpleQueue[str]] = set()

    @app.get("/events")
    def events() -> Any:
        def generate() -> Iterator[str]:
            heard: queue.SimpleQueue[str] = queue.SimpleQueue()
            clients.add(heard)
            try:
                yield ":\n\n"
                while True:
                    yield f"data: {heard.get()}\n\n"
            finally:
                clients.discard(heard)

        return app.response_class(generate(), mimetype="text/event-stream")

    return app


async def _bare(rawsocket: RawSocket) -> float:
    """Write to the transports of all members, and do nothing else."""
    message = Message("x" * 100)
    message.id = "1"
    writes = [(each.write, getattr(message, each.form)) for each in rawsocket.group(GROUP)]
    began = time.perf_counter()
    for write, data in writes:
        write(data)
    return time.perf_counter() - began


async def _group(rawsocket: RawSocket) -> float:
    room = rawsocket._rooms._rooms[GROUP]  # noqa: SLF001  what is measured
    began = time.perf_counter()
    rawsocket.group(GROUP).send("x" * 100)
    while room._passing_on:  # noqa: ASYNC110, SLF001  as often as the loop has a turn
        await asyncio.sleep(0)
    return time.perf_counter() - began
