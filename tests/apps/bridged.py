"""The application that BRIDGED names, for an ASGI server."""

import importlib
import os

module, name = os.environ["BRIDGED"].split(":")
wsgi_app = getattr(importlib.import_module(module), name)

try:
    from a2wsgi import WSGIMiddleware
except ImportError:
    by_a2wsgi = None
else:
    by_a2wsgi = WSGIMiddleware(wsgi_app)

try:
    from asgiref.wsgi import WsgiToAsgi
except ImportError:
    by_asgiref = None
else:
    by_asgiref = WsgiToAsgi(wsgi_app)
