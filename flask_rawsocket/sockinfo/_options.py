"""``Options``: a socket's options as typed attributes; knows no number of any system.

Where an option lies on this system is a ``Place`` in the table of that system's file; an option
that is not in the table raises ``UnsupportedError``. A value is converted by the kind of its
attribute, so that it has the same type and unit everywhere.
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from struct import calcsize
from typing import TYPE_CHECKING, ClassVar, Generic, NamedTuple, Self, TypeVar, overload

from flask_rawsocket.sockinfo._errno import fail, unsupported

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

__all__ = ["OptionSet", "Place", "milliseconds"]

T = TypeVar("T")


class Place(NamedTuple):
    """Where a system keeps an option, and in what form."""

    level: int
    number: int
    code: str = "i"
    """The C type, as a native code of ``struct``; a capital letter is unsigned."""
    per_second: int = 1
    """Of a time: how many of the kernel's units make a second."""
    none: int | None = None
    """The number that stands for "not set"; -1 means all ones, whatever the width."""

    def unpack(self, raw: bytes) -> int | None:
        """Return the number in an answer, of whatever length; None if it says "not set".

        The length is the answer's own: an old or 32-bit kernel returns 4 bytes for a 64-bit rate,
        Windows 1 byte for a boolean.
        """
        number = int.from_bytes(raw, sys.byteorder, signed=self.code.islower())
        if self.none is not None and not (number - self.none) % (1 << 8 * len(raw)):
            return None
        return number

    def pack(self, number: int | None) -> bytes:
        """Return the bytes to set.

        Raises:
            ValueError: the number is negative or too large for this option.
        """
        width = calcsize(self.code)
        largest = (1 << (8 * width - self.code.islower())) - 1
        if number is None:
            number = (self.none or 0) % (1 << 8 * width)
        elif not 0 <= number <= largest:
            raise ValueError(f"{number} is not between 0 and {largest}")
        return number.to_bytes(width, sys.byteorder)


def milliseconds(seconds: float, operation: str) -> int:
    """Return a time in whole milliseconds, rounded up: a timeout never becomes "no timeout".

    Raises:
        ValueError: the time is not a positive finite number, or too long for a C ``int``.
    """
    if not 0 < seconds < 2**31 / 1000:
        raise ValueError(f"{operation}: {seconds!r} is not a positive time that a kernel can keep")
    return math.ceil(round(seconds * 1000, 6))


class _Option(ABC, Generic[T]):
    """A descriptor: one option, read from and written to the live socket at every access."""

    name = ""
    """Set by the class that declares the option."""

    def __init__(self, doc: str) -> None:
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: OptionSet, owner: type) -> T: ...
    def __get__(self, instance: OptionSet | None, owner: type) -> Self | T:
        if instance is None:
            return self
        place = instance._place(self.name)  # noqa: SLF001 - the descriptor is part of its class
        return self._decode(instance._read(self.name, place), place)  # noqa: SLF001

    def __set__(self, instance: OptionSet, value: T) -> None:
        place = instance._place(self.name)  # noqa: SLF001
        instance._write(self.name, place, place.pack(self._encode(value, place)))  # noqa: SLF001

    @abstractmethod
    def _decode(self, number: int | None, place: Place) -> T: ...

    @abstractmethod
    def _encode(self, value: T, place: Place) -> int | None: ...


class _Flag(_Option[bool]):
    def _decode(self, number: int | None, place: Place) -> bool:  # noqa: ARG002
        return bool(number)

    def _encode(self, value: bool, place: Place) -> int:  # noqa: ARG002, FBT001
        return int(bool(value))


class _Number(_Option[int]):
    def _decode(self, number: int | None, place: Place) -> int:  # noqa: ARG002
        return number or 0

    def _encode(self, value: int, place: Place) -> int:  # noqa: ARG002
        return value


class _NumberOrNone(_Option[int | None]):
    def _decode(self, number: int | None, place: Place) -> int | None:  # noqa: ARG002
        return number

    def _encode(self, value: int | None, place: Place) -> int | None:  # noqa: ARG002
        return value


class _Seconds(_Option[float | None]):
    def _decode(self, number: int | None, place: Place) -> float | None:
        return None if number is None else number / place.per_second

    def _encode(self, value: float | None, place: Place) -> int | None:
        if value is None:
            return None
        return math.ceil(milliseconds(value, self.name) * place.per_second / 1000)


class OptionSet:
    """The options of a socket, read and written through to it at every access.

    Every attribute raises, on reading as on writing:

    - ``UnsupportedError``: this system or this kind of socket has no such option;
    - ``PermissionError``: a privilege is missing (``mark``, a ``priority`` above 6);
    - ``ConnectionClosedError``: the socket has been closed;
    - ``ConnectionBrokenError``: the connection is over and the system refuses for that reason;

    and on writing ``ValueError`` for a number that does not fit.
    """

    __slots__ = ("_get_sock",)

    _table: ClassVar[Mapping[str, Place]] = {}
    """This system's places, by attribute."""
    _system: ClassVar[str] = "this system"

    def __init__(self, get_sock: Callable[[], socket.socket]) -> None:
        """Make the options of a socket.

        Args:
            get_sock: returns the live socket; called at every access, so that a socket wrapped by
                TLS or closed in the meantime is seen as it is. What it raises is passed on.
        """
        self._get_sock = get_sock

    nodelay = _Flag("Send small segments at once (TCP_NODELAY).")
    cork = _Flag("Send full segments only, for at most 200 ms (TCP_CORK; TCP_NOPUSH on BSD).")
    quickack = _Flag(
        "Acknowledge at once (TCP_QUICKACK, Linux). Not sticky: the kernel goes back to delayed "
        "acknowledgements by itself."
    )
    keepalive = _Flag("Probe an idle connection (SO_KEEPALIVE).")
    keepalive_idle = _Seconds("Idle time before the first probe, in whole seconds.")
    keepalive_interval = _Seconds("Time between two probes, in whole seconds.")
    keepalive_count = _Number("Unanswered probes before the connection is given up.")
    user_timeout = _Seconds(
        "How long sent data may stay unacknowledged before the connection is given up, in "
        "seconds; None: the system's default (TCP_USER_TIMEOUT). Does nothing while idle."
    )
    notsent_lowat = _NumberOrNone(
        "Bytes not sent yet above which the socket is not writable; None: the system's default "
        "(TCP_NOTSENT_LOWAT)."
    )
    pacing_rate = _NumberOrNone(
        "The largest sending rate, in bytes per second; None: unlimited (SO_MAX_PACING_RATE)."
    )
    priority = _Number(
        "The queueing priority of what is sent, 0 to 6; more needs CAP_NET_ADMIN (SO_PRIORITY). "
        "Setting IP_TOS afterwards resets it."
    )
    mark = _Number("The firewall mark of what is sent (SO_MARK); setting needs CAP_NET_ADMIN.")
    send_buffer = _Number(
        "The send buffer, in bytes (SO_SNDBUF). Linux doubles what is set, for its own "
        "bookkeeping, and says the doubled number; setting it turns autotuning off."
    )
    receive_buffer = _Number("The receive buffer, in bytes (SO_RCVBUF); likewise.")
    incoming_cpu = _NumberOrNone(
        "The CPU that last handled a packet of this socket; None: not known yet (SO_INCOMING_CPU)."
    )

    def _place(self, name: str) -> Place:
        """Return where an option is kept.

        Raises:
            UnsupportedError: nowhere, on this system.
        """
        place = self._table.get(name)
        if place is None:
            raise unsupported(f"options.{name}", self._system)
        return place

    def _read(self, name: str, place: Place) -> int | None:
        sock = self._get_sock()
        try:
            raw = sock.getsockopt(place.level, place.number, calcsize(place.code))
        except OSError as exc:
            fail(exc, f"options.{name}")
        return place.unpack(raw)

    def _write(self, name: str, place: Place, raw: bytes) -> None:
        sock = self._get_sock()
        try:
            sock.setsockopt(place.level, place.number, raw)
        except OSError as exc:
            fail(exc, f"options.{name}")

    def __repr__(self) -> str:
        return f"<Options of {self._get_sock()!r}>"
