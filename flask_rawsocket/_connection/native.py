"""`RLock`: Python's own re-entrant lock, also where gevent has put another in its place.

For what is held for a moment, and for no call that lets another greenlet go on. gevent's would not
do: connections are accepted in its hub, where nothing may wait, and an application may have native
threads beside the greenlets, as those of ``gevent.get_hub().threadpool``.
"""

from __future__ import annotations

from _thread import RLock

__all__ = ["RLock"]
