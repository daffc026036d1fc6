"""`ConnectionMap`: the live connections of this process.

One rule: readers see a read-only mapping; only the tracker adds and removes, under its lock.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import TYPE_CHECKING

from .._connection.address import text_of
from .._connection.connection import life_of

if TYPE_CHECKING:
    from .._connection.connection import Connection
    from .._connection.state import ConnState

__all__ = ["ConnectionMap"]


class ConnectionMap(Mapping[str, "Connection"]):
    """The live connections by key.

    Iterating it is iterating a snapshot: connections that come or go meanwhile do no harm.
    It is per process, and a forked child starts with an empty one.
    """

    def __init__(self) -> None:
        self._by_key: dict[str, Connection] = {}
        self._by_id: dict[int, Connection] = {}

    def __repr__(self) -> str:
        return f"<ConnectionMap of {len(self)}>"

    def __getitem__(self, key: str) -> Connection:
        return self._by_key[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._snapshot())

    def keys(self) -> KeysView[str]:
        """Return the keys as they are now."""
        return self._snapshot().keys()

    def values(self) -> ValuesView[Connection]:
        """Return the connections as they are now."""
        return self._snapshot().values()

    def items(self) -> ItemsView[str, Connection]:
        """Return the keys and connections as they are now."""
        return self._snapshot().items()

    def _snapshot(self) -> dict[str, Connection]:
        # Copying a dict is one step under the interpreter's lock.
        return self._by_key.copy()

    def __len__(self) -> int:
        return len(self._by_key)

    def by_id(self, number: int) -> Connection | None:
        """Return the live connection whose ``id`` is `number`, or None."""
        return self._by_id.get(number)

    def in_state(self, *states: ConnState) -> list[Connection]:
        """Return the connections that are in one of `states`, the oldest first."""
        return [each for each in list(self._by_id.values()) if each.state in states]

    def add(self, connection: Connection, key: str) -> None:
        """Enter `connection` under `key`, made longer if another live one has it.

        A client may reach a second listener of ours from the same address and port; and one that
        reset its connection may come back from there before we have noticed.
        """
        if key in self._by_key:
            key = f"{key}->{text_of(connection.local_address)}"
        if key in self._by_key:
            key = f"{key}#{connection.id}"
        life_of(connection).key = key
        self._by_key[key] = connection
        self._by_id[connection.id] = connection

    def remove(self, connection: Connection) -> None:
        """Remove `connection`; an entry that is another's stays."""
        key = life_of(connection).key
        if self._by_key.get(key) is connection:
            del self._by_key[key]
        self._by_id.pop(connection.id, None)

    def clear(self) -> None:
        self._by_key.clear()
        self._by_id.clear()
