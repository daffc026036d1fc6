"""`Options`: a socket's options as typed attributes; knows no number of any system.

Where an option lies on this system is a `Place` in the table of that system's file; an option
that is not in the table raises `UnsupportedError`. A value is converted by the kind of its
attribute, so that it has the same type and unit everywhere.
"""

from __future__ import annotations

import math
import operator
import sys
from abc import ABC, abstractmethod
from struct import calcsize
from typing import TYPE_CHECKING, ClassVar, Generic, NamedTuple, Self, TypeVar, overload

from ..errors import ConnectionClosedError
from ._errno import fail, unsupported
from ._moving import ask

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

__all__ = ["OptionSet", "Place", "milliseconds"]

T = TypeVar("T")

_INT_MAX = (1 << 31) - 1


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
    smallest: int = 0
    largest: int | None = None
    """The bounds that the kernel keeps to; None: what the C type holds."""

    def unpack(self, raw: bytes) -> int | None:
        """Return the number in an answer, of whatever length; None if it says "not set".

        The length is the answer's own: an old or 32-bit kernel returns 4 bytes for a 64-bit rate,
        Windows 1 byte for a boolean.
        """
        number = int.from_bytes(raw, sys.byteorder, signed=self.code.islower())
        if self.none is not None and not (number - self.none) % (1 << 8 * len(raw)):
            return None
        return number

    def pack(self, number: int | None, operation: str) -> bytes:
        """Return the bytes to set.

        Args:
            number: in the kernel's unit; None stands for "not set".
            operation: the option's name, for the error's text.

        Raises:
            TypeError: None, and the option has no "not set".
            ValueError: the number is too small or too large for this option.
        """
        width = calcsize(self.code)
        if number is None:
            if self.none is None:
                raise TypeError(f"{operation} cannot be None: it is always set")
            return (self.none % (1 << 8 * width)).to_bytes(width, sys.byteorder)
        largest = self.largest
        if largest is None:
            largest = (1 << (8 * width - self.code.islower())) - 1
        if not self.smallest <= number <= largest:
            raise ValueError(f"{operation}: {number} is not between {self.smallest} and {largest}")
        return number.to_bytes(width, sys.byteorder)


def milliseconds(seconds: float, operation: str) -> int:
    """Return a time in whole milliseconds, rounded up: a timeout never becomes "no timeout".

    Raises:
        TypeError: it is not a number.
        ValueError: the time is not a positive finite number, or too long for a C ``int``.
    """
    try:
        sane = 0 < seconds < math.inf
    except TypeError as exc:
        raise TypeError(f"{operation}: {seconds!r} is not a number of seconds") from exc
    # The bound is looked at after the rounding up, which can pass it.
    whole = max(1, math.ceil(round(seconds * 1000, 6))) if sane else 0
    if not 0 < whole <= _INT_MAX:
        raise ValueError(f"{operation}: {seconds!r} is not a positive time that a kernel can keep")
    return whole


def _kernel_time(seconds: float, place: Place, operation: str) -> int:
    """Return a time in the kernel's unit, rounded up."""
    return math.ceil(milliseconds(seconds, operation) * place.per_second / 1000)


def _integer(value: int, operation: str) -> int:
    """Return a whole number as an ``int``; a float is not one, not even ``1e6``.

    Raises:
        TypeError: it is none.
    """
    try:
        return operator.index(value)
    except TypeError as exc:
        raise TypeError(f"{operation}: {value!r} is not a whole number") from exc


class _Option(ABC, Generic[T]):
    """A descriptor: one option, read from and written to the live socket at every access."""

    name = ""
    """Set by the class that declares the option."""

    def __init__(self, doc: str) -> None:
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @property
    def _operation(self) -> str:
        """The option as the user writes it, for the texts of errors."""
        return f"options.{self.name}"

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: OptionSet, owner: type) -> T: ...
    def __get__(self, instance: OptionSet | None, owner: type) -> Self | T:
        if instance is None:
            return self
        place = instance._place(self.name)  # noqa: SLF001  the descriptor is part of its class
        return self._decode(instance._read(self.name, place), place)  # noqa: SLF001

    def __set__(self, instance: OptionSet, value: T) -> None:
        place = instance._place(self.name)  # noqa: SLF001
        raw = place.pack(self._encode(value, place), self._operation)
        instance._write(self.name, place, raw)  # noqa: SLF001

    @abstractmethod
    def _decode(self, number: int | None, place: Place) -> T: ...

    @abstractmethod
    def _encode(self, value: T, place: Place) -> int | None: ...


class _Flag(_Option[bool]):
    def _decode(self, number: int | None, place: Place) -> bool:  # noqa: ARG002
        return bool(number)

    def _encode(self, value: bool, place: Place) -> int:  # noqa: ARG002, FBT001
        return int(bool(_integer(value, self._operation)))


class _Number(_Option[int]):
    def _decode(self, number: int | None, place: Place) -> int:  # noqa: ARG002
        return number or 0

    def _encode(self, value: int, place: Place) -> int:  # noqa: ARG002
        return _integer(value, self._operation)


class _NumberOrNone(_Option[int | None]):
    def _decode(self, number: int | None, place: Place) -> int | None:  # noqa: ARG002
        return number

    def _encode(self, value: int | None, place: Place) -> int | None:  # noqa: ARG002
        return None if value is None else _integer(value, self._operation)


class _Seconds(_Option[float]):
    def _decode(self, number: int | None, place: Place) -> float:
        return (number or 0) / place.per_second

    def _encode(self, value: float, place: Place) -> int:
        return _kernel_time(value, place, self._operation)


class _SecondsOrNone(_Option[float | None]):
    def _decode(self, number: int | None, place: Place) -> float | None:
        return None if number is None else number / place.per_second

    def _encode(self, value: float | None, place: Place) -> int | None:
        return None if value is None else _kernel_time(value, place, self._operation)


class OptionSet:
    """The options of a socket, read and written through to it at every access.

    What the attributes raise is told by `sockinfo.Options`, the class that users see.
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
    user_timeout = _SecondsOrNone(
        "How long sent data may stay unacknowledged before the connection is given up, in "
        "seconds; None: the system's default (TCP_USER_TIMEOUT). Does nothing while idle. On Linux "
        "the time counts as well in which data waits for a peer that reads nothing, though it "
        "answers every probe of its closed window (tcp(7)): set more than any pause of the reader."
    )
    notsent_lowat = _NumberOrNone(
        "Bytes not sent yet above which the socket is not writable; None: the system's default "
        "(TCP_NOTSENT_LOWAT)."
    )
    pacing_rate = _NumberOrNone(
        "The largest sending rate, in bytes per second; None: unlimited (SO_MAX_PACING_RATE)."
    )
    priority = _Number(
        "The queueing priority of what is sent, 0 to 6 (SO_PRIORITY); more needs CAP_NET_ADMIN, or "
        "CAP_NET_RAW since Linux 5.17. Setting IP_TOS afterwards resets it."
    )
    mark = _Number(
        "The firewall mark of what is sent (SO_MARK); setting it needs CAP_NET_ADMIN, or "
        "CAP_NET_RAW since Linux 5.17."
    )
    send_buffer = _Number(
        "The send buffer, in bytes (SO_SNDBUF). Linux takes no more than net.core.wmem_max, and "
        "says nothing when it takes less; it doubles what it took, for its own bookkeeping, and "
        "tells the doubled number. Setting it turns autotuning off."
    )
    receive_buffer = _Number(
        "The receive buffer, in bytes (SO_RCVBUF); likewise, up to net.core.rmem_max."
    )
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
        def read(sock: socket.socket) -> bytes:
            try:
                return sock.getsockopt(place.level, place.number, calcsize(place.code))
            except OSError as exc:
                fail(exc, f"options.{name}")

        return place.unpack(ask(self._get_sock, read))

    def _write(self, name: str, place: Place, raw: bytes) -> None:
        def write(sock: socket.socket) -> None:
            try:
                sock.setsockopt(place.level, place.number, raw)
            except OSError as exc:
                fail(exc, f"options.{name}")

        ask(self._get_sock, write)

    def __repr__(self) -> str:
        try:
            return f"<Options of {self._get_sock()!r}>"
        except ConnectionClosedError:  # a repr is for looking at what went wrong
            return "<Options of a closed socket>"
