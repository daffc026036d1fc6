"""``flask rawsocket ss``: a table of the live connections of a running application.

Two ends that agree on names: in the application `describe` makes a row of a connection, and in
another process, with JSON over HTTP in between, an `Endpoint` fetches the rows and a `Display`
shows them.

Two rules. No row is ever refused for what it lacks: a connection without TCP, one that closed
meanwhile, an endpoint that tells less. And what came from the network is only ever text here: it
is no markup, and it moves no cursor.
"""

from __future__ import annotations

from ._display import Display, display
from ._endpoint import DEFAULT_URL, Endpoint, EndpointError
from ._rows import describe, snapshot
from ._table import COLUMNS, Page, select

__all__ = [
    "COLUMNS",
    "DEFAULT_URL",
    "Display",
    "Endpoint",
    "EndpointError",
    "Page",
    "describe",
    "display",
    "select",
    "snapshot",
]
