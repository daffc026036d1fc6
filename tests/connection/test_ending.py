"""The ledger of close reasons: what outweighs what."""

from __future__ import annotations

import errno
import re
import socket
from pathlib import Path

import pytest

import flask_rawsocket
from flask_rawsocket import CloseReason, ConnState, sockinfo
from flask_rawsocket._connection import ending
from flask_rawsocket._connection.life import Life

PACKAGE = Path(flask_rawsocket.__file__).parent


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Life(ours, is_tls=False), theirs


REASONS = [each for each in CloseReason if not each.is_group]
FAILED = (CloseReason.VIEW_FAILED, CloseReason.RESPONSE_BROKEN)


def test_groups():
    """Each reason is in one of six groups, and is none itself; a group is in itself."""
    groups = {each for each in CloseReason if each.is_group}
    assert {each.name for each in groups} == {
        "CLIENT",
        "AFTER_RESPONSE",
        "KEEPALIVE_TIMEOUT",
        "ERROR",
        "SHUTDOWN",
        "APP",
    }
    assert {each.group for each in REASONS} == groups
    assert all(each.group is each for each in groups)
    assert len(REASONS) >= 15
    assert all(each.value == each.name.lower() for each in CloseReason)


@pytest.mark.parametrize("known", [None, *REASONS])
@pytest.mark.parametrize("new", REASONS)
def test_a_fact(pair, known, new):
    """It replaces nothing and a view's failure, and is replaced by none."""
    life, _ = pair
    life.ending = known
    ending.note(life, new)
    assert life.ending is (new if known in (None, *FAILED) else known)


@pytest.mark.parametrize("known", [None, *REASONS])
def test_an_assumption(pair, known):
    """It stands only where nothing is known at all."""
    life, _ = pair
    life.ending = known
    ending.assume(life, CloseReason.STOPPED)
    assert life.ending is (known or CloseReason.STOPPED)


@pytest.mark.parametrize("known", [None, *REASONS])
def test_a_cut(pair, known):
    """A response that is cut is a view's failure, where nothing better is known."""
    life, _ = pair
    life.ending = known
    ending.cut(life)
    expected = CloseReason.RESPONSE_BROKEN if known is CloseReason.VIEW_FAILED else known
    assert life.ending is expected


@pytest.mark.parametrize(
    ("state", "ours"), [(ConnState.ACTIVE, "SERVER_FAILED"), (ConnState.HIJACKED, "APP_CLOSED")]
)
def test_the_kernel_is_asked(pair, state, ours):
    """Where nothing is known a peer that has left is the reason, else our own side is."""
    life, theirs = pair
    life.state = state
    assert ending.reason(life) is CloseReason[ours]
    theirs.close()
    assert ending.reason(life) is CloseReason.PEER_CLOSED
    assert not ending.is_by_peer(life)
    ending.settle_end(life)
    assert ending.is_by_peer(life)


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (errno.ECONNRESET, "PEER_RESET"),
        (errno.ETIMEDOUT, "PEER_LOST"),
        (errno.EHOSTUNREACH, "PEER_LOST"),
        (errno.EPIPE, "PEER_CLOSED"),
    ],
)
def test_an_error_of_a_peer_that_is_gone(pair, number, why):
    """What a read or a write has raised says how the peer went."""
    life, theirs = pair
    theirs.close()
    assert ending.broke_off(life, OSError(number, "gone"))
    assert life.ending is CloseReason[why]


def test_an_error_of_another_connection(pair):
    """A view's own error says nothing of a peer that is there; nor does a read that would wait."""
    life, theirs = pair
    assert not ending.broke_off(life, ConnectionResetError(errno.ECONNRESET, "upstream"))
    theirs.close()
    assert not ending.broke_off(life, BlockingIOError(errno.EAGAIN, "later"))
    assert life.ending is None


@pytest.mark.parametrize(
    ("state", "why"), [(ConnState.NEW, "NO_REQUEST"), (ConnState.IDLE, "KEEPALIVE_OVER")]
)
def test_no_request(pair, state, why):
    """A first request that does not come is not a next one."""
    life, _ = pair
    life.state = state
    ending.none_came(life)
    assert life.ending is CloseReason[why]


def test_a_system_that_cannot_say(pair, monkeypatch):
    """Where the kernel has no answer an end is our own: it is no error on the way out."""

    def unsupported(sock):
        raise flask_rawsocket.UnsupportedError("peer_status is not supported on this system")

    monkeypatch.setattr(sockinfo, "peer_status", unsupported)
    assert ending.guess(pair[0]) is CloseReason.SERVER_FAILED


def test_it_is_settled_once(pair):
    """What comes after shutdown() looks like the peer's end: the reason is found before."""
    life, theirs = pair
    life.state = ConnState.ACTIVE
    ending.settle(life)
    theirs.close()
    ending.settle(life)
    assert ending.reason(life) is CloseReason.SERVER_FAILED


def test_only_one_file_writes_it():
    """No other module writes ``ending``, and none but `states` a state or a close reason."""
    writes = re.compile(r"\.(ending|state|close_reason) = ")
    found = {
        (path.name, match[1])
        for path in PACKAGE.rglob("*.py")
        for match in writes.finditer(path.read_text())
    }
    made = {("life.py", name) for name in ("ending", "state", "close_reason")}
    assert found - made == {
        ("ending.py", "ending"),
        ("states.py", "state"),
        ("states.py", "close_reason"),
    }


def test_no_group_is_a_reason():
    """No module notes a group as the reason: it asks for one only, by ``.group``."""
    groups = "|".join(each.name for each in CloseReason if each.is_group)
    used = re.compile(rf"CloseReason\.({groups})\b")
    found = {
        f"{path.name}: {line.strip()}"
        for path in PACKAGE.rglob("*.py")
        for line in path.read_text().splitlines()
        if used.search(line) and ".group is" not in line
    }
    assert not found
