"""Makes links of the names of the API that stand on a page as plain code.

So that the pages are plain Markdown, a page writes ``conn.hijack()`` and not a role of Sphinx's.
What stands before the dot says which class is meant, by the names that all pages use; a class or an
exception stands by itself. A method that such a class does not have is a warning.
"""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

log = logging.getLogger(__name__)

CODE = re.compile(r"(?:(?P<owner>\w+)\.)?(?P<name>\w+)(?:\(.*\))?", re.DOTALL)
"""A name, that of an attribute, or a call of either."""

OWNERS = {
    "conn": ("flask_rawsocket.Connection",),
    "current_conn": ("flask_rawsocket.Connection",),
    "Connection": ("flask_rawsocket.Connection",),
    "rawsocket": ("flask_rawsocket.RawSocket",),
    "RawSocket": ("flask_rawsocket.RawSocket",),
    "stream": ("flask_rawsocket.HijackedSocket",),
    "current_stream": ("flask_rawsocket.streams.Stream",),
    "group": ("flask_rawsocket.streams.Group",),
    "ws": ("flask_rawsocket.streams.WebSocket", "flask_rawsocket.streams.Stream"),
    "rawsocket_client": ("flask_rawsocket.testing.RawSocketClient", "flask.testing.FlaskClient"),
    "rawsocket_server": ("flask_rawsocket.testing.RawSocketServer",),
    "peer": ("flask_rawsocket.testing.Peer",),
}
"""What the pages call an object, and its classes."""

NO_API = {"peer.py", "rawsocket.state", "rawsocket.transport", "rawsocket.reason"}
"""What looks like the API's: a file, and OpenTelemetry's attributes."""

OTHERS = {"flask.testing.FlaskClient", "flask_rawsocket.HijackedSocket"}
"""Classes that have methods of somebody else's, which our API does not list."""

MODULES = (
    "flask_rawsocket",
    "flask_rawsocket.streams",
    "flask_rawsocket.sockinfo",
    "flask_rawsocket.testing",
    "flask_rawsocket.metrics",
)
"""Where a class, an exception or a function that stands by itself is looked for."""

QUIET = (nodes.reference, nodes.title, nodes.term)
"""Within these nothing is linked: it is a link already, or in a heading."""


class CodeLinks(SphinxPostTransform):
    """Replaces code by code that is a link."""

    default_priority = 5

    def run(self, **_kwargs):
        if not self.env.docname.startswith("api"):
            for node in list(self.document.findall(nodes.literal)):
                if not _is_within(node, QUIET):
                    self._link(node)

    def _link(self, node):
        found = CODE.fullmatch(node.astext())
        if found is None:
            return
        owner, name = found["owner"], found["name"]
        if owner is None:
            places = (
                MODULES if name[0].isupper() or name.startswith(("current_", "remember")) else ()
            )
        else:
            places = OWNERS.get(owner, ())
        known = self.env.domains.python_domain.objects
        full = next((f"{each}.{name}" for each in places if f"{each}.{name}" in known), None)
        if full is not None:
            entry = known[full]
            docname, builder = self.env.docname, self.app.builder
            link = make_refnode(builder, docname, entry.docname, entry.node_id, node.deepcopy())
            node.replace_self(link)
        elif places and owner and node.astext() not in NO_API and OTHERS.isdisjoint(places):
            log.warning("the API has no %s", node.astext(), location=node)


def _is_within(node, kinds):
    while node is not None:
        if isinstance(node, kinds):
            return True
        node = node.parent
    return False


def setup(app):
    app.add_post_transform(CodeLinks)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
