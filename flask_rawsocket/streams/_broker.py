"""`Broker`: who carries the messages of a group to the processes that have members of it.

Groups know two of its methods and nothing else, so one that spans processes or hosts can take the
place of `LocalBroker`, which knows this process only.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._message import Message

    Deliver = Callable[[Message], None]

__all__ = ["Broker", "LocalBroker"]


class Broker(Protocol):
    """Carries messages; any method may be called from any thread, and returns at once."""

    def publish(self, group: str, message: Message) -> None:
        """Carry `message` to every subscriber of `group`; those of one thread stay in order."""

    def subscribe(self, group: str, deliver: Deliver) -> Callable[[], None]:
        """Call `deliver` with each message that `group` gets; return what ends that."""


class LocalBroker:
    """Carries messages within this process: `publish` calls the subscribers itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        """Guards what follows; held for no call."""
        self._subscribers: dict[str, tuple[Deliver, ...]] = {}

    def publish(self, group: str, message: Message) -> None:
        """Call the subscribers of `group`."""
        for deliver in self._subscribers.get(group, ()):
            deliver(message)

    def subscribe(self, group: str, deliver: Deliver) -> Callable[[], None]:
        """Call `deliver` with each message that `group` gets; return what ends that."""
        with self._lock:
            self._subscribers[group] = (*self._subscribers.get(group, ()), deliver)

        def unsubscribe() -> None:
            with self._lock:
                left = tuple(each for each in self._subscribers[group] if each is not deliver)
                if left:
                    self._subscribers[group] = left
                else:
                    del self._subscribers[group]

        return unsubscribe
