"""What the process knows: the live connections, those that ended last, threads and counts."""

import os
import threading
from collections import Counter, deque
from itertools import islice

from flask import g

from example_app.chat import room
from example_app.extension import rawsocket
from example_app.facts import describe, facts
from example_app.slow import counts
from flask_rawsocket import ConnState

MOST_ROWS = 50
"""The most live connections that the page shows."""

closed = deque(maxlen=10)
"""The connections that ended last, the most recent one first."""

busy = Counter(threads=0)
"""How many threads are in views: a stream or a member of the chat holds none."""
_lock = threading.Lock()
"""Guards `busy`."""


@rawsocket.on_state_change(ConnState.CLOSED)
def remember(conn, _old, _new):
    closed.appendleft(describe(conn))


def overview(current, most=MOST_ROWS):
    """Return all this, with at most so many of the live connections; None for all of them."""
    live = rawsocket.connections
    return {
        "pid": os.getpid(),
        "current": facts(current),
        "connections": [describe(each) for each in islice(live.values(), most)],
        "count": len(live),
        "closed": list(closed),
        "members": len(room),
        "busy": busy["threads"],
        "work": dict(counts),
    }


def count_busy_threads(app):
    @app.before_request
    def begin():
        g.holds_thread = True
        with _lock:
            busy.update(threads=1)

    @app.teardown_request
    def end(_exc):
        if g.pop("holds_thread", False):
            with _lock:
                busy.update(threads=-1)
