"""A view that works for a while, and stops when its client leaves."""

import threading
import time
from collections import Counter

from flask import Blueprint
from werkzeug.exceptions import ClientDisconnected

from example_app.extension import rawsocket
from example_app.own_page import refuse_others

PARTS = 200
PART = 0.1
"""How long a part of the work takes, in seconds."""

AT_ONCE = 2
"""How many may work at the same time: each holds one of the server's threads."""

slow = Blueprint("slow", __name__)
slow.before_request(refuse_others)
_places = threading.BoundedSemaphore(AT_ONCE)
counts = Counter(working=0, finished=0, stopped=0)
_lock = threading.Lock()
"""Guards `counts`: several threads handle requests."""


def count(**changes):
    with _lock:
        counts.update(changes)


@slow.get("/slow")
def work():
    if not _places.acquire(blocking=False):
        return "Enough are working already.\n", 503, {"Retry-After": "20"}
    try:
        return work_in_parts()
    finally:
        _places.release()


def work_in_parts():
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
