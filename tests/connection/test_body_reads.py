"""What a failed read of a body leaves behind; no server."""

from __future__ import annotations

import gc
import weakref

from accepting import PlainExchange

from flask_rawsocket._body_errors import ReadDeadlineError, http_error


class Exchange(PlainExchange):
    """One whose reads lose what they have read."""

    def read_failed(self, exc):
        return http_error(exc)

    def _may_have_lost(self):
        return True


def test_it_is_freed_at_once():
    """An error that was kept would refer to its frames, and they to the request and its socket."""
    exchange, raised = Exchange(), []
    freed = weakref.ref(exchange)
    gc.disable()
    try:
        for _ in range(3):
            try:
                with exchange:
                    raise TimeoutError("late")
            except ReadDeadlineError as exc:
                raised.append(str(exc))
        del exchange
        assert freed() is None
    finally:
        gc.enable()
    assert raised == ["late"] * 3
