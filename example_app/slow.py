"""A view that works for a while, and stops when its client leaves."""

import threading
import time
from collections import Counter

from flask import Blueprint
from werkzeug.exceptions import ClientDisconnected

from example_app.extension import rawsocket

PARTS = 200
PART = 0.1
"""How long a part of the work takes, in seconds."""

slow = Blueprint("slow", __name__)
counts = Counter(working=0, finished=0, stopped=0)
_lock = threading.Lock()
"""Guards `counts`: several threads handle requests."""


def count(**changes):
    with _lock:
        counts.update(changes)


@slow.get("/slow")
def work():
    count(working=1)
    try:
        with rawsocket.stop_when_disconnected() as checkpoint:
            for _ in range(PARTS):
                checkpoint()
                time.sleep(PART)
    except ClientDisconnected:
        count(stopped=1)
        raise
    else:
        count(finished=1)
        return {"parts": PARTS}
    finally:
        count(working=-1)
