"""HTTP/2 on the gevent worker, as gunicorn serves it; states follow the streams.

The streams of a connection are served one after the other, by its greenlet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gunicorn import http
from gunicorn.workers import base_async

from ._http2_streams import follow

if TYPE_CHECKING:
    from .._sockets.duties import Duties
    from .._tracking.tracker import ConnectionTracker

__all__ = ["expect_preface", "follow_streams", "may_be_preface"]


def may_be_preface(cfg: Any, address: Any) -> bool:
    """Tell whether a peer may begin with the preface of HTTP/2, in the clear (gunicorn 26.2)."""
    negotiation = getattr(base_async, "negotiation", None)
    if negotiation is None:
        return False
    return bool(negotiation.prior_knowledge_allowed(cfg, address))


def expect_preface(duties: Duties) -> None:
    """Have what comes first, or behind a PROXY protocol header, be a preface, not a request."""
    if duties.proxy_parser is not None:
        duties.proxy_parser.before_preface = True
    else:
        duties.head_due = False


def follow_streams(tracker: ConnectionTracker) -> None:
    """Have a connection be ACTIVE while a stream is open, and IDLE while none is, in this process.

    gunicorn makes what parses HTTP/2 in the middle of a method, and by this function.

    Args:
        tracker: who is told.
    """
    get_parser: Any = http.get_parser

    def get_following_parser(cfg: Any, source: Any, *args: Any, **kwargs: Any) -> Any:
        parser = get_parser(cfg, source, *args, **kwargs)
        if kwargs.get("http2_connection") and getattr(source, "connection", None) is not None:
            follow(tracker, source, parser)
        return parser

    http.get_parser = get_following_parser
