"""`Parser`: gunicorn's parser of a connection, which reads nothing where nothing is left to read.

Behind each request gunicorn reads what is left of its body, twice, and sets the socket's timeout
for that and back. Most requests have no body at all.
"""

from __future__ import annotations

from typing import Any

from gunicorn.http import parser
from gunicorn.http.body import LengthReader

from ._request import Request

__all__ = ["Parser"]


class Parser(parser.RequestParser):
    """Stands where gunicorn makes its parsers of HTTP/1, in the worker's process."""

    mesg: Any
    mesg_class = Request

    def finish_body(self, *args: Any, **kwargs: Any) -> Any:
        """Read what is left of the request's body, as gunicorn does; tell whether that was all."""
        request = self.mesg
        if request is not None:
            body = request.body
            reader = body.reader
            # What the body itself holds was read before: it is off the socket.
            if (
                isinstance(reader, LengthReader)
                and not reader.length
                and not getattr(body, "failed", False)  # gunicorn 27 has it
            ):
                return True
        return super().finish_body(*args, **kwargs)
