"""`RawSocket`: the Flask extension."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from . import globals as _globals
from ._connection.state import ConnState
from ._misuse import plain_function, with_parentheses
from ._ss import describe, snapshot
from ._tracking.hooks import Hooks
from ._tracking.settings import log_unknown, read_settings
from ._tracking.tracker import process_tracker
from .disconnect import StopWhenDisconnected, UntilDisconnected, checkpoint
from .peer import RequirePeer, peer_identity
from .streams.face import Streams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from flask import Flask

    from ._connection.connection import Connection
    from ._tracking.hooks import StateHook
    from ._tracking.map import ConnectionMap

    _Hook = TypeVar("_Hook", bound=StateHook)
    _Function = TypeVar("_Function", bound=Callable[[], object])

__all__ = ["RawSocket", "activate"]

_NAME = "rawsocket"


class RawSocket(Streams):
    """The extension that gives the views of a Flask application their request's connection.

    ::

        app = Flask(__name__)
        rawsocket = RawSocket(app)

    or, in the factory pattern, ``RawSocket()`` and later ``init_app(app)``.

    Hooks hear of every connection of the process, including those whose requests go to another
    application.

    `init_app` reads the application's configuration once, and logs keys that it does not know. As
    the server reads requests before any application sees them, these settings apply to the whole
    process; if several applications in it differ, the one that is set up last decides:

    - ``RAWSOCKET_HEADER_TIMEOUT``: the seconds from the first byte of a request, or of a TLS
      handshake, to the end of the request's head; 10 by default, None for no limit.
    - ``RAWSOCKET_MIN_BODY_RATE`` and ``RAWSOCKET_MIN_RESPONSE_RATE``: the bytes a second at which a
      request's body must come, and a response must be read; 240 by default, None or 0 for any
      speed. They are averages of the time that is spent waiting for the peer, enforced after
      ``RAWSOCKET_RATE_GRACE`` seconds of it, 5 by default.
    - ``RAWSOCKET_UNIX_REMOTE_ADDR``: whether the ``REMOTE_ADDR`` of a UNIX peer is its unique
      override; True by default. Where it is not, ``REMOTE_ADDR`` is the same for all of them.
    - ``RAWSOCKET_SAVE_SYN``: whether the kernel keeps the SYN of each TCP connection for
      `Connection.saved_syn`; False by default.
    - ``RAWSOCKET_STOP_TIMEOUT``: the seconds that hijacked connections have to end when the server
      stops; 5 by default, None for as long as requests have.

    Args:
        app: the application to set up at once.
    """

    def __init__(self, app: Flask | None = None) -> None:
        self._hooks = Hooks()
        self._apps: weakref.WeakSet[Flask] = weakref.WeakSet()  # those that it was set up on
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Set up `app`: read its configuration, and activate the hooks of this object.

        Args:
            app: the application, whose ``extensions["rawsocket"]`` becomes this object.

        Raises:
            RuntimeError: it has been set up before.
            ValueError: a setting has an invalid value.
        """
        if _NAME in app.extensions:
            raise RuntimeError(
                f"RawSocket has already been set up on {app.name!r}: "
                "call init_app once, or pass the app to the constructor, not both."
            )
        settings = read_settings(app.config)  # raises before anything is changed
        log_unknown(app.config)
        app.extensions[_NAME] = self
        self._apps.add(app)
        app.wsgi_app = _globals.ConnectionMiddleware(app.wsgi_app)  # type: ignore[method-assign]
        process_tracker.set_up(settings, self._hooks)

    @property
    def current_conn(self) -> Connection:
        """The Connection that the current request came in on.

        Raises:
            NoConnectionError: outside of a request, or on a server that does not expose its socket.
        """
        return _globals.get_current_conn()

    @property
    def connections(self) -> ConnectionMap:
        """The live connections of this process by key, on this package's own servers only."""
        return process_tracker.connections

    def snapshot(self) -> dict[str, Any]:
        """Return the live connections of this process, ready for JSON.

        A view returns this to ``flask rawsocket ss``. Protect that view, as it shows who is
        connected.

        Returns:
            ``pid``, and ``connections`` with the result of `describe` for each.
        """
        return snapshot(self.connections)

    @staticmethod
    def describe(connection: Connection) -> dict[str, Any]:
        """Return what is known about a connection, ready for JSON.

        Args:
            connection: any Connection, even after its end.

        Returns:
            Its identity, state and age; the bytes in its ``queues`` (``receive``, ``send`` and
            ``unsent``), and some fields of its `TCPInfo` as ``tcp``, each None if the kernel has no
            answer. Times are in seconds.
        """
        return describe(connection)

    @overload
    def on_state_change(self, hook: _Hook, /) -> _Hook: ...

    @overload
    def on_state_change(self, /, *states: ConnState) -> Callable[[_Hook], _Hook]: ...

    def on_state_change(self, /, *states: Any) -> Any:
        """Decorate a function to be called when a connection changes its state.

        It is called as ``hook(connection, old, new)``, where ``old`` is None for NEW. The calls for
        a connection come in order and in its own thread, never on the accept path, with no lock
        held, and for CLOSED while the descriptor is still open. What it raises is logged.

        Args:
            states: call it on changes into these states; without any, on every change.

        Raises:
            TypeError: an argument is neither a state nor a function; or it is a coroutine function.
        """
        if len(states) == 1 and not isinstance(states[0], ConnState) and callable(states[0]):
            self._hooks.add((), plain_function(states[0], "on_state_change"))
            return states[0]
        wrong = [each for each in states if not isinstance(each, ConnState)]
        if wrong:
            raise TypeError(f"on_state_change takes ConnStates or a function, not {wrong[0]!r}")

        def decorate(hook: _Hook) -> _Hook:
            self._hooks.add(states, plain_function(hook, "on_state_change"))
            return hook

        return decorate

    def on_shutdown(self, function: _Function) -> _Function:
        """Decorate a function to be called, without arguments, when the server begins to stop.

        It runs in a thread of its own while requests in progress go on; the server's graceful
        timeout applies to it as well. What it raises is logged.

        Raises:
            TypeError: it is not callable, or a coroutine function.
        """
        self._hooks.add_shutdown(plain_function(function, "on_shutdown"))
        return function

    @with_parentheses
    def require_peer(
        self,
        *,
        uid: int | Iterable[int] | None = None,
        user: str | Iterable[str] | None = None,
        gid: int | Iterable[int] | None = None,
        group: str | Iterable[str] | None = None,
        any_of: Mapping[Literal["uid", "user", "gid", "group"], Any] | None = None,
    ) -> RequirePeer:
        """Admit only certain UNIX peers to a view; any other peer, and every TCP peer, gets 403.

        ::

            @app.post("/reload")
            @rawsocket.require_peer(any_of={"user": "root", "group": "adm"})
            def reload(): ...

        The peer is the process that connected to the socket: behind nginx that is nginx. It must
        satisfy all arguments; of those in `any_of`, one is enough. Refusals are logged.

        Args:
            uid: the peer's effective user id, or several that are admitted.
            user: the same by name, looked up in the system's user database for each request.
            gid: a group id, effective or supplementary, or several.
            group: the same by name.
            any_of: some of these arguments by name, of which the peer must satisfy one.

        In a user namespace, such as that of a rootless container, a peer from outside may have no
        id of its own. The kernel shows it as 65534 (``nobody``), but it is not admitted as such.

        Raises:
            ValueError: no argument was given, or nothing in `any_of`.
            TypeError: an id is not an int, a name not a str, or `any_of` not such a mapping.
        """
        all_of = {"uid": uid, "user": user, "gid": gid, "group": group}
        return RequirePeer(self._apps, all_of=all_of, any_of=any_of)

    def peer_identity(self) -> str:
        """Return who the current request's peer is: what to key a rate limit or a ban on.

        A peer has the same identity on all of its connections, on any server that shows its socket.
        It is what the kernel says, not an address that a client or a proxy has sent: behind a proxy
        it is the proxy.

        Returns:
            ``uid:1000`` for a UNIX peer, by its user; for a TCP peer its host, ``192.0.2.1``, which
            is empty if it had gone before a server that is not ours showed its socket.

        Raises:
            NoConnectionError: as `current_conn` says.
            ConnectionClosedError: a UNIX connection has been closed.
            UnsupportedError: the system does not know the users of UNIX peers.
        """
        return peer_identity()

    @with_parentheses
    def stop_when_disconnected(self) -> StopWhenDisconnected:
        """Stop a long view once its client is gone: a context manager, or a decorator for views.

        ::

            with rawsocket.stop_when_disconnected() as checkpoint:
                for part in work:
                    checkpoint()
                    ...

        The next `checkpoint` after the client has gone raises
        ``werkzeug.exceptions.ClientDisconnected``. The call is necessary: Python has no safe way to
        raise an exception in another thread in the middle of arbitrary code, which may hold a lock
        or be in a system call.

        On a server that is not one of this package's each `checkpoint` asks the kernel; where the
        server shows no socket, as Flask's test client, the client is taken for present.
        """
        return StopWhenDisconnected(self._apps)

    def checkpoint(self) -> None:
        """Raise ``werkzeug.exceptions.ClientDisconnected`` if the current request's client is gone.

        Inside of `stop_when_disconnected` this makes no system call on this package's servers.
        Where the server shows no socket, the client is taken for present.

        Raises:
            NoConnectionError: outside of a request.
        """
        checkpoint()

    @overload
    def until_disconnected(self, iterable: Iterable[bytes]) -> UntilDisconnected[bytes]: ...

    @overload
    def until_disconnected(self, iterable: Iterable[str]) -> UntilDisconnected[str]: ...

    def until_disconnected(self, iterable: Iterable[bytes] | Iterable[str]) -> Any:
        """Stream `iterable` until the client is gone; then close it, so that its ``finally`` runs.

        Before each item the client is looked for, which takes a microsecond or two. Without this, a
        server notices only when a write fails, which over TCP is the second one after the client
        has gone. Where the server shows no socket, the client is taken for present.

        Args:
            iterable: the parts of the response, all ``bytes`` or all ``str``.
        """
        return UntilDisconnected(iterable)


def activate(app: Flask) -> None:
    """Make of an application once more what its set-up has made of this process: for tests.

    Args:
        app: one that may not have been set up at all.
    """
    rawsocket = app.extensions.get(_NAME)
    if isinstance(rawsocket, RawSocket):
        hooks = rawsocket._hooks  # noqa: SLF001  of this file
        process_tracker.set_up(read_settings(app.config), hooks)
