"""The table of states: all 25 pairs through the one function that applies it, and random walks."""

from __future__ import annotations

import ast
import pickle
import socket
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_rawsocket import TRANSITIONS, CloseReason, ConnState, InvalidStateError
from flask_rawsocket._connection import state
from flask_rawsocket._connection.connection import Connection, life_of
from flask_rawsocket._tracking.tracker import ConnectionTracker

N, A, IDLE, H, C = ConnState
LEGAL = {(N, A), (N, C), (A, IDLE), (A, H), (A, C), (IDLE, A), (IDLE, C), (H, C)}


@pytest.fixture(scope="module")
def sock():
    with socket.socket() as sock:
        yield sock


def connection_in(sock, state):
    connection = Connection(
        sock, None, family=sock.family, remote_address=("h", 1), local_address=("h", 2)
    )
    life_of(connection).key = "h:1"
    life_of(connection).state = state
    return connection


def apply(connection, new):
    return ConnectionTracker()._change(connection, life_of(connection), new)


def test_every_reason_says_its_setting():
    """Under each stands what it means, and which setting governs it: so do the docs."""
    body = ast.parse(Path(state.__file__).read_text()).body
    (reasons,) = (each.body for each in body if getattr(each, "name", None) == "CloseReason")
    texts = {
        before.targets[0].id: after.value.value
        for before, after in pairwise(reasons)
        if isinstance(before, ast.Assign) and isinstance(after, ast.Expr)
    }
    for each in CloseReason:
        meaning, *setting = " ".join(texts[each.name].split()).split(" Setting: ")
        assert meaning.endswith(".")
        assert len(setting) == (not each.is_group)
        assert meaning.startswith("Group: ") == each.is_group


@pytest.mark.parametrize("old", ConnState)
@pytest.mark.parametrize("new", ConnState)
def test_every_pair(sock, old, new):
    """A pair is legal, or raises an error that names the connection and both states."""
    connection = connection_in(sock, old)
    if (old, new) in LEGAL:
        apply(connection, new)
        assert connection.state is new
    else:
        with pytest.raises(InvalidStateError, match=f"h:1 .* from {old.name} to {new.name}"):
            apply(connection, new)
        assert connection.state is old


@pytest.mark.parametrize("new", ConnState)
def test_the_first_state(sock, new):
    """A connection begins as NEW."""
    connection = connection_in(sock, None)
    if new is N:
        apply(connection, new)
    else:
        with pytest.raises(InvalidStateError, match="from nothing"):
            apply(connection, new)


@given(st.lists(st.sampled_from(ConnState), max_size=30))
def test_random_walks(path):
    """Whatever is tried, nothing follows CLOSED, and only CLOSED follows HIJACKED."""
    with socket.socket() as sock:
        connection = connection_in(sock, N)
        walked = [N]
        for each in path:
            if each in TRANSITIONS[walked[-1]]:
                apply(connection, each)
                walked.append(each)
            else:
                with pytest.raises(InvalidStateError):
                    apply(connection, each)
    assert connection.state is walked[-1]
    assert N not in walked[1:]
    assert C not in walked[:-1]
    assert H not in walked or set(walked[walked.index(H) + 1 :]) <= {C}


def test_the_table_is_read_only():
    """Nobody changes the table by accident."""
    with pytest.raises(TypeError):
        TRANSITIONS[C] = frozenset({N})


def test_states_survive_pickling():
    """Identity is what a state is compared and hashed by."""
    assert pickle.loads(pickle.dumps(N)) is N
    assert {N: 1}[pickle.loads(pickle.dumps(N))] == 1
