"""The application of ``websocket_conformance.py``: an echo."""

from __future__ import annotations

from typing import Any

import app as apps

app = apps.with_rawsocket()
rawsocket = app.extensions["rawsocket"]


@app.route("/echo", websocket=True)
@rawsocket.websocket_view(max_message_size=2**25, origins=["*"])
async def echo(ws: Any) -> None:
    """Send back what comes."""
    async for message in ws:
        await ws.send(message)
