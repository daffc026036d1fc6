"""A worker that stops while its requests go on, and one whose applications take their time."""

from __future__ import annotations

import contextlib

import pytest
from servers import wait_for

WORKERS = pytest.mark.parametrize("name", ["sync", "gthread"])


@WORKERS
@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_beside_a_request_that_goes_on(run_server, name, transport):
    """Its connection and the owners' end before the arbiter kills, hooks and all."""
    with (
        run_server(name, transport, "--graceful-timeout", "4", app="stopping:app") as server,
        contextlib.ExitStack() as stack,
    ):
        server.mark()
        owned = [stack.enter_context(server.hand_over("/stay")) for _ in range(5)]
        slow = stack.enter_context(server.connect())
        slow.get("/long?seconds=30")
        wait_for(lambda: any("long" in each for each in server.events()), "the request")
        server.stop()
        for each in owned:
            assert each.rest() == b"CANCELLED\n"
        assert slow.at_eof()
        assert sorted(server.sequences()) == ["NAC"] + ["NAHC"] * 5
        assert [each["reason"] for each in server.closed()] == ["SHUTDOWN"] * 6


@WORKERS
def test_on_shutdown_that_takes_longer_than_the_timeout(run_server, name):
    """The arbiter is told all the while that the worker lives."""
    options = "--timeout", "2", "--max-requests", "3", "--graceful-timeout", "20"
    with run_server(
        name, "tcp", *options, app="stopping:app", env={"STOPPING_SECONDS": "3.5"}
    ) as server:
        told = {"told": 3.5}
        while told not in server.events():
            with contextlib.suppress(OSError), server.connect() as client:
                client.request("/", "Connection: close")
        assert "WORKER TIMEOUT" not in server.log.read_text()
