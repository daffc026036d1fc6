"""What can go wrong, by whose fault.

::

    RawSocketError                    everything below
    +-- NoConnectionError             no request here, or a server without a socket (RuntimeError)
    +-- InvalidStateError             that move is not in the state table
    |   +-- AlreadyHijackedError      the connection has been taken over before
    +-- ConnectionClosedError         we closed it
    +-- ConnectionBrokenError         the peer or the system did; ``__cause__`` says how
    +-- UnsupportedError              platform, family, protocol or server: the text says which
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
    """The base of every error that this package raises on its own account."""


class NoConnectionError(RawSocketError, RuntimeError):
    """There is no connection to speak of; the text names the cure."""


class InvalidStateError(RawSocketError):
    """The connection cannot make that move from the state it is in."""


class AlreadyHijackedError(InvalidStateError):
    """The connection has been taken over already."""


class ConnectionClosedError(RawSocketError):
    """The connection was closed on our side; its descriptor is gone."""


class ConnectionBrokenError(RawSocketError):
    """The peer or the system ended the connection; ``__cause__`` keeps the ``OSError``."""


class UnsupportedError(RawSocketError, NotImplementedError):
    """The platform, address family, protocol or server cannot do that; the text says which."""
