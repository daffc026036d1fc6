"""The pytest plugin: the fixtures ``rawsocket_client`` and ``rawsocket_server``.

Both serve the application of a fixture called ``app``, which is the test suite's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from .._tracking.tracker import process_tracker
from . import RawSocketClient, RawSocketServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Flask

__all__ = ["pytest_configure", "rawsocket_client", "rawsocket_server"]

_OURS: Final = {"rawsocket_client", "rawsocket_server"}


def pytest_configure(config: pytest.Config) -> None:
    """Say what the marker means."""
    config.addinivalue_line(
        "markers",
        "rawsocket_server(transport='tcp', tls=False): how the fixture rawsocket_server serves; "
        "transport may be 'unix', and tls True or an SSLContext",
    )


@pytest.fixture(autouse=True)
def _rawsocket_reset(request: pytest.FixtureRequest) -> Iterator[None]:
    """Forget what a test has hooked and set in this process.

    Only where the test uses a fixture of ours: other tests, whose applications have a server of
    their own, are as they would be without this plugin.
    """
    restore = process_tracker.save()
    yield
    if not _OURS.isdisjoint(request.fixturenames):
        restore()


@pytest.fixture
def rawsocket_client(app: Flask) -> Iterator[RawSocketClient]:
    """Flask's test client, with a real connection under each request of the fixture ``app``."""
    client = RawSocketClient(app)
    # From here on: what was hooked before is the application's, the rest is the test's.
    restore = process_tracker.save()
    yield client
    client.close()
    restore()


@pytest.fixture
def rawsocket_server(app: Flask, request: pytest.FixtureRequest) -> Iterator[RawSocketServer]:
    """A server of Flask-RawSocket that serves the fixture ``app`` while the test runs."""
    marker = request.node.get_closest_marker("rawsocket_server")
    args, kwargs = (marker.args, marker.kwargs) if marker else ((), {})
    with RawSocketServer(app, *args, **kwargs) as server:
        restore = process_tracker.save()
        yield server
    restore()
