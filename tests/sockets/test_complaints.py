"""How often the log says the same."""

from __future__ import annotations

import time

from flask_rawsocket._sockets.complaints import COMPLAINT_PAUSE, Complaints


def test_not_each_time(monkeypatch):
    """The first is due, and the next when the pause is over."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    complaints, others = Complaints(), Complaints()
    assert [complaints.is_due(), complaints.is_due(), others.is_due()] == [True, False, True]
    now += COMPLAINT_PAUSE - 0.1
    assert not complaints.is_due()
    now += 0.1
    assert [complaints.is_due(), complaints.is_due()] == [True, False]
