"""Serves an application by gevent's own server: ``python serve_pywsgi.py APP BIND [CERT KEY]``.

APP is ``module:name``; BIND is ``fd://N``, a bound socket, or ``unix:PATH``. TERM stops it.
"""

from gevent import monkey

monkey.patch_all()

import importlib
import signal
import socket
import sys

import gevent

from flask_rawsocket.pywsgi import WSGIServer


def main(app, bind, *certificate):
    module, _, name = app.partition(":")
    application = getattr(importlib.import_module(module), name)
    if bind.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(bind.removeprefix("unix:"))
    else:
        sock = socket.socket(fileno=int(bind.removeprefix("fd://")))
    sock.listen(128)
    tls = dict(zip(("certfile", "keyfile"), certificate, strict=False))
    server = WSGIServer(sock, application, **tls)
    gevent.signal_handler(signal.SIGTERM, server.stop)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
