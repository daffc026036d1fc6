"""The ledger of close reasons: what outweighs what."""

from __future__ import annotations

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


@pytest.mark.parametrize("known", [None, *CloseReason])
@pytest.mark.parametrize("new", CloseReason)
def test_a_fact(pair, known, new):
    """It replaces nothing and ERROR, and is replaced by none."""
    life, _ = pair
    life.ending = known
    ending.note(life, new)
    assert life.ending is (new if known in (None, CloseReason.ERROR) else known)


@pytest.mark.parametrize("known", [None, *CloseReason])
def test_an_assumption(pair, known):
    """It stands only where nothing is known at all."""
    life, _ = pair
    life.ending = known
    ending.assume(life, CloseReason.SHUTDOWN)
    assert life.ending is (known or CloseReason.SHUTDOWN)


@pytest.mark.parametrize(
    ("state", "ours"), [(ConnState.ACTIVE, "ERROR"), (ConnState.HIJACKED, "APP")]
)
def test_the_kernel_is_asked(pair, state, ours):
    """Where nothing is known a peer that has left is the reason, else our own side is."""
    life, theirs = pair
    life.state = state
    assert ending.reason(life) is CloseReason[ours]
    theirs.close()
    assert ending.reason(life) is CloseReason.CLIENT


def test_a_system_that_cannot_say(pair, monkeypatch):
    """Where the kernel has no answer an end is our own: it is no error on the way out."""

    def unsupported(sock):
        raise flask_rawsocket.UnsupportedError("peer_status is not supported on this system")

    monkeypatch.setattr(sockinfo, "peer_status", unsupported)
    assert ending.guess(pair[0]) is CloseReason.ERROR


def test_it_is_settled_once(pair):
    """What comes after shutdown() looks like the peer's end: the reason is found before."""
    life, theirs = pair
    life.state = ConnState.ACTIVE
    ending.settle(life)
    theirs.close()
    ending.settle(life)
    assert ending.reason(life) is CloseReason.ERROR


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
