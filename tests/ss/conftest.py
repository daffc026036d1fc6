"""The fixtures of these tests."""

from __future__ import annotations

import pytest
from listing import serving


@pytest.fixture
def site():
    with serving() as site:
        yield site
