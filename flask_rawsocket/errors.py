"""The errors that this package raises.

::

    RawSocketError                    the base of all of them
    +-- NoConnectionError             no request, or a server without a socket (RuntimeError)
    +-- InvalidStateError             not allowed in the connection's present state
    |   +-- AlreadyHijackedError      the connection has been hijacked before
    +-- ConnectionClosedError         closed on our side
    +-- ConnectionBrokenError         ended by the peer or the system; ``__cause__`` says how
    +-- UnsupportedError              the platform, family, protocol or server cannot do it
                                      (NotImplementedError)
"""

from __future__ import annotations

__all__ = [
    "AlreadyHijackedError",
    "ConnectionBrokenError",
    "ConnectionClosedError",
    "InvalidStateError",
    "NoConnectionError",
    "RawSocketError",
    "UnsupportedError",
]


class RawSocketError(Exception):
    """The base class of every error that this package defines."""


class NoConnectionError(RawSocketError, RuntimeError):
    """There is no connection here; the text says what to do."""


class InvalidStateError(RawSocketError):
    """The connection does not allow this in its present state."""


class AlreadyHijackedError(InvalidStateError):
    """The connection has already been hijacked."""


class ConnectionClosedError(RawSocketError):
    """The connection was closed on our side; its descriptor is gone."""


class ConnectionBrokenError(RawSocketError):
    """The peer or the system ended the connection; ``__cause__`` keeps the ``OSError``."""


class UnsupportedError(RawSocketError, NotImplementedError):
    """The platform, address family, protocol or server cannot do this; the text says which."""
