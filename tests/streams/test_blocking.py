"""A handler that blocks the event loop is named in the log."""

from __future__ import annotations

import pytest
from servers import wait_for


@pytest.mark.slow
def test_blocked_loop(thread_worker):
    """The log names the function that has blocked it, and what to use instead."""
    with thread_worker.connect() as client:
        assert client.request("/live/blocks").body == b"done"

    def line():
        return [each for each in thread_worker.tail().splitlines() if "has blocked" in each]

    found = wait_for(line, "the line in the log")
    assert len(found) == 1
    assert "generate (" in found[0]
    assert "in_thread" in found[0]
    assert "sleeps_on_the_loop" in thread_worker.tail()
