"""The table of states: all 25 pairs, and random walks over it."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_rawsocket import TRANSITIONS, ConnState, InvalidStateError
from flask_rawsocket._state import check_transition

N, A, IDLE, H, C = ConnState
LEGAL = {(N, A), (N, C), (A, IDLE), (A, H), (A, C), (IDLE, A), (IDLE, C), (H, C)}


@pytest.mark.parametrize("old", ConnState)
@pytest.mark.parametrize("new", ConnState)
def test_every_pair(old, new):
    """A pair is legal or raises an error that names the connection and both states."""
    if (old, new) in LEGAL:
        check_transition("conn", old, new)
    else:
        with pytest.raises(InvalidStateError, match=f"'conn' .* {old.name} to {new.name}"):
            check_transition("conn", old, new)


@pytest.mark.parametrize("new", ConnState)
def test_the_first_state(new):
    """A connection begins as NEW."""
    if new is N:
        check_transition("conn", None, new)
    else:
        with pytest.raises(InvalidStateError, match="from nothing"):
            check_transition("conn", None, new)


@given(st.lists(st.sampled_from(ConnState), max_size=30))
def test_random_walks(path):
    """Whatever is tried, a connection is NEW once, and nothing follows CLOSED."""
    walked, now = [], None
    for each in path:
        if each in TRANSITIONS[now]:
            check_transition("conn", now, each)
            walked.append(each)
            now = each
        else:
            with pytest.raises(InvalidStateError):
                check_transition("conn", now, each)
    assert walked[1:].count(N) == 0
    assert C not in walked[:-1]
    assert H not in walked or set(walked[walked.index(H) + 1 :]) <= {C}


def test_the_table_is_read_only():
    """Nobody changes the table by accident."""
    with pytest.raises(TypeError):
        TRANSITIONS[C] = frozenset({N})  # type: ignore[index]


def test_states_survive_pickling():
    """Identity is what a state is compared and hashed by."""
    assert pickle.loads(pickle.dumps(N)) is N
    assert {N: 1}[pickle.loads(pickle.dumps(N))] == 1
