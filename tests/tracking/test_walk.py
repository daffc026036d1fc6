"""Whatever happens to connections, in whatever order: hooks hear of the table's moves, in order.

Random events on a real tracker, over real pairs of sockets.  After each of them, for every
connection: the hook calls make a walk through `TRANSITIONS` that begins at its first state; none
follows CLOSED; and the map holds exactly the connections that are not CLOSED.
"""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass, field

from accepting import begin_request
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from flask_rawsocket import TRANSITIONS, CloseReason, Connection, ConnState, RawSocketError
from flask_rawsocket._sockets.listener import Listener
from flask_rawsocket._sockets.plain import TrackedSocket
from flask_rawsocket._tracking.hooks import Hooks
from flask_rawsocket._tracking.tracker import ConnectionTracker


@dataclass
class Pair:
    """A client's socket, the server's end, and what was taken over of it."""

    client: socket.socket
    sock: TrackedSocket
    connection: Connection
    streams: list = field(default_factory=list)

    @property
    def state(self):
        return self.connection.state


class Walk(RuleBasedStateMachine):
    """Servers, owners and peers, who do things to connections."""

    pairs = Bundle("pairs")

    def __init__(self):
        super().__init__()
        self.stack = contextlib.ExitStack()
        self.tracker = ConnectionTracker()
        self.hooks = Hooks()
        self.hooks.add([], self.hear)
        self.tracker.add_hooks(self.hooks)
        listening = self.stack.enter_context(socket.socket(socket.AF_UNIX))
        self.listener = Listener(listening, self.tracker)
        self.heard = {}
        self.hook_does = None
        self.pairs_made = []

    def hear(self, connection, old, new):
        """The one hook: write the move down, and now and then do something about it."""
        self.heard.setdefault(connection, []).append((old, new))
        what, self.hook_does = self.hook_does, None
        if what is not None:
            what(connection)

    @rule(target=pairs)
    def accept(self):
        """A connection comes in; its hooks run, as in the thread that serves it."""
        client, end = socket.socketpair()
        client = self.stack.enter_context(client)
        sock = TrackedSocket(end.family, end.type, end.proto, end.detach())
        sock, _ = self.listener.adopt(sock, "")
        pair = Pair(client, self.stack.enter_context(sock), sock.connection)
        self.pairs_made.append(pair)
        self.tracker.run_hooks(pair.connection)
        return pair

    @rule(pair=pairs)
    def a_byte_comes(self, pair):
        """Whoever has the connection reads a byte of it."""
        reader = pair.streams[-1] if pair.streams else pair.sock
        with contextlib.suppress(OSError):
            pair.client.sendall(b"x")
            reader.recv(1)

    @rule(pair=pairs)
    def the_response_ends(self, pair):
        """The server keeps the connection alive, or thinks that it does."""
        self.tracker.request_ended(pair.connection)
        self.tracker.responded(pair.connection)

    @rule(pair=pairs)
    def hijack(self, pair):
        """A view takes the connection; only amid a request is it given."""
        before = pair.state
        if before is ConnState.ACTIVE:  # a server has read the head before it calls a view
            begin_request(pair.connection)
        try:
            pair.streams.append(self.stack.enter_context(self.tracker.hijack(pair.connection)))
        except (RawSocketError, OSError):
            assert before is not ConnState.ACTIVE
        else:
            assert before is ConnState.ACTIVE
        self.tracker.request_ended(pair.connection)

    @rule(pair=pairs)
    def the_peer_leaves(self, pair):
        """The peer closes, and nobody here knows until it reads."""
        pair.client.close()

    @rule(pair=pairs)
    def the_owner_closes(self, pair):
        """Whoever has the connection closes it, again perhaps."""
        (pair.streams[-1] if pair.streams else pair.sock).close()
        assert pair.state is ConnState.CLOSED

    @rule(pair=pairs)
    def the_server_closes(self, pair):
        """The server closes its end; of a connection that was taken over it has none."""
        before = pair.state
        pair.sock.close()
        assert pair.state is (before if before is ConnState.HIJACKED else ConnState.CLOSED)

    @rule(pair=consumes(pairs), reason=st.sampled_from(CloseReason))
    def the_end_is_told(self, pair, reason):
        """The tracker is told of an end before its socket closes, and why."""
        was_closed = pair.connection.close_reason
        self.tracker.closed(pair.connection, reason)
        assert pair.connection.close_reason is (was_closed or reason)

    @rule()
    def the_next_hook_closes(self):
        """The hook that is called next closes its connection."""
        self.hook_does = lambda connection: self.tracker.closed(connection, CloseReason.APP)

    @rule()
    def the_next_hook_fails(self):
        """The hook that is called next raises an error, which is logged."""
        self.hook_does = lambda _connection: 1 / 0

    @invariant()
    def every_walk_is_legal(self):
        """Each call's move is in the table, and begins where the one before has ended."""
        for pair in self.pairs_made:
            moves = self.heard[pair.connection]
            olds, news = zip(*moves, strict=True)
            assert olds == (None, *news[:-1])
            assert all(new in TRANSITIONS[old] for old, new in moves)
            assert news.count(ConnState.CLOSED) <= 1
            assert news[-1] is pair.state

    @invariant()
    def the_map_is_of_the_living(self):
        """It holds the connections that are not CLOSED, each once, and no other."""
        alive = [each.connection for each in self.pairs_made if each.state is not ConnState.CLOSED]
        found = list(self.tracker.connections.values())
        assert sorted(found, key=id) == sorted(alive, key=id)
        assert all(each.close_reason is None for each in alive)

    def teardown(self):
        """Everything is closed in the end, the map is empty, and every end was heard of."""
        self.stack.close()
        self.every_walk_is_legal()
        assert not self.tracker.connections
        assert self.tracker.wait_hijacked(0)
        assert self.tracker.wait_closed(0)


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
