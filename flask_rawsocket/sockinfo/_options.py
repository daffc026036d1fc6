"""`OptionSet`: a socket's options as typed attributes; knows no system's option numbers.

The file of each system has a table with the `Place` of every option; one that is not in the table
raises `UnsupportedError`. The kind of the attribute converts the value, so that its type and unit
are the same on every system.
"""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from struct import calcsize
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, overload

from ..errors import ConnectionClosedError
from ._errno import fail, unsupported
from ._place import milliseconds

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from ._place import Place

__all__ = ["OptionSet"]

T = TypeVar("T")


def _kernel_time(seconds: float, place: Place, operation: str) -> int:
    """Return a time in the kernel's unit, rounded up."""
    return math.ceil(milliseconds(seconds, operation) * place.per_second / 1000)


def _integer(value: int, operation: str) -> int:
    """Return a whole number as an ``int``; a float does not count, not even ``1e6``.

    Raises:
        TypeError: the value is not a whole number.
    """
    try:
        return operator.index(value)
    except TypeError as exc:
        raise TypeError(f"{operation}: {value!r} is not a whole number") from exc


class _Option(ABC, Generic[T]):
    """A descriptor for one option, which each access reads from or writes to the live socket."""

    name = ""
    """Set by the class that declares the option."""

    def __init__(self, doc: str) -> None:
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @property
    def operation(self) -> str:
        """The option as the user writes it, for the text of an error."""
        return f"options.{self.name}"

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: OptionSet, owner: type) -> T: ...
    def __get__(self, instance: OptionSet | None, owner: type) -> Self | T:
        if instance is None:
            return self
        return instance._get(self)  # noqa: SLF001  a descriptor is part of the class that has it

    def __set__(self, instance: OptionSet, value: T) -> None:
        instance._set(self, value)  # noqa: SLF001  likewise

    @abstractmethod
    def decode(self, number: int | None, place: Place) -> T:
        """Return the value of the kernel's number; None means "not set"."""

    @abstractmethod
    def encode(self, value: T, place: Place) -> int | None:
        """Return the kernel's number for a value; None means "not set"."""


class _Flag(_Option[bool]):
    def decode(self, number: int | None, place: Place) -> bool:  # noqa: ARG002
        return bool(number)

    def encode(self, value: bool, place: Place) -> int:  # noqa: ARG002, FBT001
        return int(bool(_integer(value, self.operation)))


class _Number(_Option[int]):
    def decode(self, number: int | None, place: Place) -> int:  # noqa: ARG002
        return number or 0

    def encode(self, value: int, place: Place) -> int:  # noqa: ARG002
        return _integer(value, self.operation)


class _NumberOrNone(_Option[int | None]):
    def decode(self, number: int | None, place: Place) -> int | None:  # noqa: ARG002
        return number

    def encode(self, value: int | None, place: Place) -> int | None:  # noqa: ARG002
        return None if value is None else _integer(value, self.operation)


class _Seconds(_Option[float]):
    def decode(self, number: int | None, place: Place) -> float:
        return (number or 0) / place.per_second

    def encode(self, value: float, place: Place) -> int:
        return _kernel_time(value, place, self.operation)


class _SecondsOrNone(_Option[float | None]):
    def decode(self, number: int | None, place: Place) -> float | None:
        return None if number is None else number / place.per_second

    def encode(self, value: float | None, place: Place) -> int | None:
        return None if value is None else _kernel_time(value, place, self.operation)


class OptionSet:
    """The options of a socket; each access reads from it or writes to it.

    `sockinfo.Options`, the class that users see, documents what the attributes raise.
    """

    __slots__ = ("_ask",)

    _table: ClassVar[Mapping[str, Place]] = {}
    """The place of each option on this system, by attribute."""
    _system: ClassVar[str] = "this system"

    def __init__(self, ask: Callable[[Callable[[socket.socket], Any]], Any]) -> None:
        """Make the options of a socket.

        Args:
            ask: calls what it is given with the live socket, and returns the answer; called at each
                access, so that a socket that has moved or been closed in the meantime is noticed.
                What it raises is passed on.
        """
        self._ask = ask

    nodelay = _Flag("Send small segments at once (TCP_NODELAY).")
    cork = _Flag("Hold back incomplete segments, for at most 200 ms (TCP_CORK; TCP_NOPUSH on BSD).")
    quickack = _Flag(
        "Acknowledge at once (TCP_QUICKACK, Linux). It does not last: the kernel goes back to "
        "delayed acknowledgements by itself."
    )
    keepalive = _Flag("Probe an idle connection (SO_KEEPALIVE).")
    keepalive_idle = _Seconds("Idle time before the first probe, in whole seconds.")
    keepalive_interval = _Seconds("Time between two probes, in whole seconds.")
    keepalive_count = _Number("Unanswered probes after which the connection is given up.")
    user_timeout = _SecondsOrNone(
        "How long sent data may stay unacknowledged before the connection is given up, in "
        "seconds; None: the system's default (TCP_USER_TIMEOUT). It has no effect while the "
        "connection is idle. On Linux the time while a live peer reads nothing counts too, even if "
        "it answers every probe of its closed window (tcp(7)): choose a time longer than any pause "
        "of the reader."
    )
    notsent_lowat = _NumberOrNone(
        "How many unsent bytes make the socket not writable; None: the system's default "
        "(TCP_NOTSENT_LOWAT)."
    )
    pacing_rate = _NumberOrNone(
        "The largest sending rate, in bytes per second; None: unlimited (SO_MAX_PACING_RATE)."
    )
    priority = _Number(
        "The queueing priority of outgoing packets, 0 to 6 (SO_PRIORITY); a higher one needs "
        "CAP_NET_ADMIN, or CAP_NET_RAW since Linux 5.17. Setting IP_TOS afterwards resets it."
    )
    mark = _Number(
        "The firewall mark of outgoing packets (SO_MARK); setting it needs CAP_NET_ADMIN, or "
        "CAP_NET_RAW since Linux 5.17."
    )
    send_buffer = _Number(
        "The size of the send buffer, in bytes (SO_SNDBUF). Linux silently reduces it to "
        "net.core.wmem_max, doubles that to make room for its own bookkeeping, and returns the "
        "doubled number. Setting it turns autotuning off."
    )
    receive_buffer = _Number(
        "The size of the receive buffer, in bytes (SO_RCVBUF); likewise, up to net.core.rmem_max."
    )
    incoming_cpu = _NumberOrNone(
        "The CPU that last handled a packet of this socket; None: not known yet (SO_INCOMING_CPU)."
    )

    def _get(self, option: _Option[T]) -> T:
        place = self._place(option)
        return option.decode(self._read(option, place), place)

    def _set(self, option: _Option[T], value: T) -> None:
        place = self._place(option)
        self._write(option, place, place.pack(option.encode(value, place), option.operation))

    def _place(self, option: _Option[Any]) -> Place:
        """Return where this system keeps an option.

        Raises:
            UnsupportedError: the system does not have it.
        """
        place = self._table.get(option.name)
        if place is None:
            raise unsupported(option.operation, self._system)
        return place

    def _read(self, option: _Option[Any], place: Place) -> int | None:
        def read(sock: socket.socket) -> bytes:
            try:
                return sock.getsockopt(place.level, place.number, calcsize(place.code))
            except OSError as exc:
                fail(exc, option.operation)

        return place.unpack(self._ask(read))

    def _write(self, option: _Option[Any], place: Place, raw: bytes) -> None:
        def write(sock: socket.socket) -> None:
            try:
                sock.setsockopt(place.level, place.number, raw)
            except OSError as exc:
                fail(exc, option.operation)

        self._ask(write)

    def __repr__(self) -> str:
        try:
            return f"<Options of {self._ask(repr)}>"
        except ConnectionClosedError:  # a repr helps to find out what went wrong: never raise
            return "<Options of a closed socket>"
