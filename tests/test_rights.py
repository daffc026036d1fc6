"""Whose request it is, and whose context: a right belongs to the request that asks for it."""

from __future__ import annotations

import pytest
from servers import wait_for

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rights(run_server):
    with run_server("gthread", "tcp", app="rights:app") as server:
        yield server


def answer(server, before):
    """Wait for what the thread that was left over has been told."""
    found = wait_for(
        lambda: [each["asked"] for each in server.events()[before:] if "asked" in each],
        "the answer",
    )
    return found[0]


@pytest.mark.parametrize(
    "right",
    [
        "hijack",
        "abort",
        "set_deadlines",
        "set_min_rates",
        "close_after_response",
        "on_disconnect",
        "hijack_async",
        "upgrade",
    ],
)
def test_a_thread_that_has_outlived_its_request(rights, right):
    """It is told so, and the request that is in hand now is not touched.

    Go panics there (golang#11720); here request 2 was hijacked, reset or cut off by request 1.
    """
    before = len(rights.events())
    with rights.connect() as client:
        assert client.request(f"/leave-a-thread?right={right}").body == b"left"
        assert client.request("/the-next-one").body == b"undisturbed"
        assert answer(rights, before)["error"] == "InvalidStateError"
        assert client.request("/the-next-one").body == b"undisturbed"


def test_deadlines_between_two_requests(rights):
    """There is no request whose deadlines these could be: the next one is served as ever."""
    before = len(rights.events())
    with rights.connect() as client:
        assert client.request("/deadlines-between").body == b"later"
        assert answer(rights, before)["error"] == "InvalidStateError"
        assert client.request("/the-next-one").body == b"undisturbed"


@pytest.mark.parametrize("name", ["werkzeug", "sync", "gthread"])
def test_a_handlers_context(run_server, name):
    """It is empty: the view's Flask contexts are torn down by the time the handler runs.

    With them a pool of 3 database connections was checked out for good, and sessions were shared.
    """
    with run_server(name, "tcp", app="rights:app") as server, server.connect() as client:
        client.get("/context")
        assert client.rest() == b"[False, None] _UnixSelectorEventLoop\n"


def test_a_loop_of_our_own(tmp_path, run_server):
    """Whatever policy the application has set: a loop of uvloop's gave each end the reason APP."""
    (tmp_path / "policy.py").write_text(
        "import asyncio\n"
        "class Policy(asyncio.DefaultEventLoopPolicy):\n"
        "    def new_event_loop(self):\n"
        "        raise AssertionError('not for ours')\n"
        "asyncio.set_event_loop_policy(Policy())\n"
        "from rights import app\n"
    )
    options = ("--pythonpath", str(tmp_path))
    with (
        run_server("gthread", "tcp", *options, app="policy:app") as server,
        server.connect() as client,
    ):
        client.get("/context")
        assert client.rest().endswith(b"SelectorEventLoop\n")
