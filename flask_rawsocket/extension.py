"""`RawSocket`: the Flask extension."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from . import globals as _globals
from ._connection.state import ConnState
from ._ss import describe, snapshot
from ._tracking.hooks import Hooks
from ._tracking.tracker import process_tracker
from .disconnect import StopWhenDisconnected, UntilDisconnected, checkpoint
from .peer import RequirePeer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from flask import Flask

    from ._connection.connection import Connection
    from ._tracking.hooks import StateHook
    from ._tracking.map import ConnectionMap

    _Hook = TypeVar("_Hook", bound=StateHook)
    _Function = TypeVar("_Function", bound=Callable[[], object])
    _Called = TypeVar("_Called")

__all__ = ["RawSocket"]

_NAME = "rawsocket"


class RawSocket:
    """Gives the views of a Flask application the connection under their request.

    ::

        app = Flask(__name__)
        rawsocket = RawSocket(app)

    or, in the factory pattern, ``RawSocket()`` and later ``init_app(app)``.

    The application's configuration is read once, by `init_app`. As the server reads requests
    before any application has seen them, these are settings of the process; where several
    applications in it say different things, the last one to be set up is heard:

    - ``RAWSOCKET_HEADER_TIMEOUT``: seconds from the first byte of a request, a TLS handshake's
      included, to the end of its head; 10 by default, None for no limit.
    - ``RAWSOCKET_UNIX_REMOTE_ADDR``: whether a UNIX peer's ``REMOTE_ADDR`` is its unique override
      rather than what the server says of every UNIX peer; True by default.
    - ``RAWSOCKET_SAVE_SYN``: whether the kernel keeps each TCP connection's SYN for
      `Connection.saved_syn`; False by default.

    Args:
        app: the application to set up at once.
    """

    def __init__(self, app: Flask | None = None) -> None:
        self._hooks = Hooks()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Set up `app`: read its configuration, and let this object's hooks hear of connections.

        Args:
            app: the application; this object is its ``extensions["rawsocket"]`` from here on.

        Raises:
            RuntimeError: it has been set up before.
            ValueError: a setting makes no sense.
        """
        if _NAME in app.extensions:
            raise RuntimeError(
                f"RawSocket has been set up on {app.name!r} already: "
                "call init_app once, or pass the app to the constructor, not both."
            )
        settings = _settings(app.config)  # before anything is changed
        app.extensions[_NAME] = self
        app.wsgi_app = _globals.Entering(app.wsgi_app)  # type: ignore[method-assign]
        for name, value in settings.items():
            setattr(process_tracker.settings, name, value)
        process_tracker.add_hooks(self._hooks)

    @property
    def current_conn(self) -> Connection:
        """The Connection that the current request came in on.

        Raises:
            NoConnectionError: outside of a request, or on a server that shows no socket.
        """
        return _globals.get_current_conn()

    @property
    def connections(self) -> ConnectionMap:
        """The live connections of this process, by key. Only those of this package's servers."""
        return process_tracker.connections

    def snapshot(self) -> dict[str, Any]:
        """Give the live connections of this process, ready for JSON.

        It is what a view answers for ``flask rawsocket ss``. Guard that view: it tells who is
        connected.

        Returns:
            ``pid``, and ``connections`` with what `describe` gives of each.
        """
        return snapshot(self.connections)

    @staticmethod
    def describe(connection: Connection) -> dict[str, Any]:
        """Give what there is to say of a connection, ready for JSON.

        Args:
            connection: any one, also after its end.

        Returns:
            Its identity, state and age; what lies in its ``queues`` (``receive``, ``send`` and
            ``unsent``, in bytes) and some fields of its `TCPInfo` as ``tcp``, each None where the
            kernel has no answer. Times are in seconds.
        """
        return describe(connection)

    @overload
    def on_state_change(self, hook: _Hook, /) -> _Hook: ...

    @overload
    def on_state_change(self, /, *states: ConnState) -> Callable[[_Hook], _Hook]: ...

    def on_state_change(self, /, *states: Any) -> Any:
        """Decorate a function to be called when a connection changes its state.

        It is called as ``hook(connection, old, new)``, where ``old`` is None for NEW; in the
        connection's own thread and in order, never on the accept path, with no lock held, and on
        CLOSED while the descriptor is still open. What it raises is logged.

        Args:
            states: call it on changes into these states; without any, on every change.

        Raises:
            TypeError: what was given is no state, or no function.
        """
        if len(states) == 1 and not isinstance(states[0], ConnState) and callable(states[0]):
            self._hooks.add((), states[0])
            return states[0]
        wrong = [each for each in states if not isinstance(each, ConnState)]
        if wrong:
            raise TypeError(f"on_state_change takes ConnStates or a function, not {wrong[0]!r}")

        def decorate(hook: _Hook) -> _Hook:
            self._hooks.add(states, _callable(hook, "on_state_change"))
            return hook

        return decorate

    def on_shutdown(self, function: _Function) -> _Function:
        """Decorate a function to be called, without arguments, when the server begins to stop.

        It runs in a thread of its own while requests in progress go on; the server's graceful
        timeout is its limit too. What it raises is logged.

        Raises:
            TypeError: it cannot be called.
        """
        self._hooks.add_shutdown(_callable(function, "on_shutdown"))
        return function

    def require_peer(
        self,
        *,
        uid: int | Iterable[int] | None = None,
        user: str | Iterable[str] | None = None,
        gid: int | Iterable[int] | None = None,
        group: str | Iterable[str] | None = None,
    ) -> RequirePeer:
        """Let only certain UNIX peers into a view; any other, and a TCP peer always, gets 403.

        ::

            @app.post("/reload")
            @rawsocket.require_peer(user="deploy")
            def reload(): ...

            admin.before_request(rawsocket.require_peer(group="wheel"))

        The peer is whoever connected to the socket: behind nginx that is nginx.

        Args:
            uid: the peer's effective user id is this one, or one of these.
            user: likewise by name, as the system's user database has it now.
            gid: the peer's effective group id, or one of its supplementary ones.
            group: likewise by name. What is given must all hold.

        In a user namespace, such as a rootless container's, a peer from outside may have no id of
        its own; the kernel calls it 65534 (``nobody``), and it is not let in as that.

        Raises:
            ValueError: nothing was asked for.
            TypeError: an id is no number, or a name no text.
        """
        return RequirePeer(uid=uid, user=user, gid=gid, group=group)

    def stop_when_disconnected(self) -> StopWhenDisconnected:
        """Stop a long view once its client is gone: a context manager, or a view's decorator.

        ::

            with rawsocket.stop_when_disconnected() as checkpoint:
                for part in work:
                    checkpoint()
                    ...

        The next `checkpoint` after the client has gone raises
        ``werkzeug.exceptions.ClientDisconnected``. It takes that call: Python offers no safe way
        to raise an exception in another thread amid arbitrary code, which may hold a lock or be in
        a system call.
        """
        return StopWhenDisconnected()

    def checkpoint(self) -> None:
        """Raise ``werkzeug.exceptions.ClientDisconnected`` if the current request's client is gone.

        Inside of `stop_when_disconnected` this costs no system call.
        """
        checkpoint()

    def until_disconnected(self, iterable: Iterable[bytes]) -> UntilDisconnected:
        """Stream `iterable` until its client is gone; then close it, so that its ``finally`` runs.

        The client is looked for before each item, which costs a microsecond or two. Without this,
        a server notices only by a failing write, which over TCP is the second one after the client
        has gone.
        """
        return UntilDisconnected(iterable)


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Give what `config` says of our settings.

    Raises:
        ValueError: one of them makes no sense.
    """
    settings = {}
    for name, (accepts, expected) in _ACCEPTED.items():
        key = f"RAWSOCKET_{name.upper()}"
        if key in config:
            if not accepts(config[key]):
                raise ValueError(f"{key} takes {expected}, not {config[key]!r}")
            settings[name] = config[key]
    return settings


def _is_timeout(value: object) -> bool:
    if value is None:
        return True
    # A bool is an int, but no number of seconds.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 < value < math.inf  # type: ignore[operator]


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


_ACCEPTED: Final = {
    "header_timeout": (_is_timeout, "seconds above 0, or None"),
    "unix_remote_addr": (_is_bool, "True or False"),
    "save_syn": (_is_bool, "True or False"),
}
"""What each setting may be: a test, and its text."""


def _callable(function: _Called, name: str) -> _Called:
    if not callable(function):
        raise TypeError(f"{name} decorates a function, not {function!r}")
    return function
