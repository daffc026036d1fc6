"""``flask rawsocket ss``: a table of the live connections of a running application.

Two ends that agree on the names of the fields: in the application, `describe` makes a row of a
connection; in another process, an `Endpoint` fetches the rows as JSON over HTTP and a `Display`
shows them.

Two rules. A row is never refused because something is missing: the connection may not be TCP, may
have closed in the meantime, or its endpoint may report less. And what came from the network is
only ever shown as text: it cannot be markup, and it cannot move the cursor.
"""

from __future__ import annotations

from ._display import Display, display
from ._endpoint import DEFAULT_URL, Endpoint, EndpointError, without_userinfo
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
    "without_userinfo",
]
