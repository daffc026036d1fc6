"""Runs `handling`'s application by `flask_rawsocket.serving`: ``python serve.py ARGUMENTS``.

ARGUMENTS is JSON: the keyword arguments of ``run_simple``, or with ``"make"`` those of
``make_server``.
"""

import json
import sys

import werkzeug.serving
from handling import app

from flask_rawsocket.serving import _server as serving


class Handler(werkzeug.serving.WSGIRequestHandler):
    """A handler of Werkzeug's, which somebody has changed a little."""

    server_version = "Changed"

    def log_request(self, code="-", _size="-"):
        self.log("info", "a line of our own: %s", code)


def main(arguments):
    make = arguments.pop("make", False)
    if arguments.pop("handler", False):
        arguments["request_handler"] = Handler
    if isinstance(arguments.get("ssl_context"), list):
        arguments["ssl_context"] = tuple(arguments["ssl_context"])
    host, port = arguments.pop("host"), arguments.pop("port")
    if make:
        serving.make_server(host, port, app, **arguments).serve_forever()
    else:
        serving.run_simple(host, port, app, **arguments)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
