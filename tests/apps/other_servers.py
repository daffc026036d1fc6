"""Runs an application on a server of another project: ``python other_servers.py SERVER BIND APP``.

BIND is ``127.0.0.1:0``, or ``unix:PATH``; CERT and KEY in the environment mean TLS. What is bound
is printed as Werkzeug does it.
"""

import importlib
import json
import os
import shutil
import socket
import sys

SERVERS = {}
CERTIFICATE = [os.environ[each] for each in ("CERT", "KEY") if each in os.environ]


def server(function):
    SERVERS[function.__name__] = function
    return function


def listening(bind, *, listens=True):
    """Return a bound socket, and say where it is bound."""
    if bind.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(bind.removeprefix("unix:"))
    else:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", int(bind.rpartition(":")[2])))
        print("Running on http://{}:{}".format(*sock.getsockname()), flush=True)
    if listens:
        sock.listen(64)
    return sock


def load(app):
    module, name = app.split(":")
    return getattr(importlib.import_module(module), name)


@server
def waitress(bind, app):
    """Run ours."""
    from flask_rawsocket.waitress import serve

    options = json.loads(os.environ.get("WAITRESS", "{}"))
    serve(load(app), sockets=[listening(bind)], **options)


@server
def plain_waitress(bind, app, **options):
    import waitress

    waitress.serve(load(app), sockets=[listening(bind)], **options)


@server
def plain_waitress_lookahead(bind, app):
    plain_waitress(bind, app, channel_request_lookahead=2)


@server
def cheroot(bind, app):
    from cheroot import wsgi
    from cheroot.ssl.builtin import BuiltinSSLAdapter

    address = bind.removeprefix("unix:") if bind.startswith("unix:") else ("127.0.0.1", 0)
    made = wsgi.Server(address, load(app), numthreads=4)
    if CERTIFICATE:
        made.ssl_adapter = BuiltinSSLAdapter(*CERTIFICATE)
    made.prepare()
    if not bind.startswith("unix:"):
        print("Running on http://{}:{}".format(*made.bind_addr), flush=True)
    made.serve()


@server
def cherrypy(bind, app):
    import cherrypy as engine

    engine.tree.graft(load(app), "/")
    port = listening(bind, listens=False)  # held, until it ends
    engine.config.update(
        {
            "server.socket_host": "127.0.0.1",
            "server.socket_port": port.getsockname()[1],
            "engine.autoreload.on": False,
        }
    )
    engine.engine.start()
    engine.engine.block()


@server
def plain_pywsgi(bind, app):
    import gevent.socket
    from gevent.pywsgi import WSGIServer

    sock = listening(bind)
    sock = gevent.socket.socket(sock.family, sock.type, fileno=sock.detach())
    tls = dict(zip(("certfile", "keyfile"), CERTIFICATE, strict=False))
    WSGIServer(sock, load(app), **tls).serve_forever()


@server
def plain_pywsgi_patched(bind, app):
    from gevent import monkey

    monkey.patch_all()
    plain_pywsgi(bind, app)


@server
def eventlet(bind, app):
    import eventlet
    import eventlet.wsgi
    from eventlet.greenio import GreenSocket

    sock = GreenSocket(listening(bind))
    if CERTIFICATE:
        certificate, key = CERTIFICATE
        sock = eventlet.wrap_ssl(sock, certfile=certificate, keyfile=key, server_side=True)
    eventlet.wsgi.server(sock, load(app))


@server
def eventlet_patched(bind, app):
    from eventlet import monkey_patch

    monkey_patch()
    eventlet(bind, app)


@server
def wsgiref(bind, app):
    from wsgiref.simple_server import make_server

    made = make_server("127.0.0.1", 0, load(app))
    print("Running on http://{}:{}".format(*made.server_address), flush=True)
    made.serve_forever()


@server
def uwsgi(bind, app):
    sock = listening(bind, listens=False) if not bind.startswith("unix:") else None
    where = bind.removeprefix("unix:")
    if sock is not None:
        sock.set_inheritable(inheritable=True)  # it holds the port, which uWSGI binds too
        where = f"127.0.0.1:{sock.getsockname()[1]}"
    program = shutil.which("uwsgi", path=os.path.dirname(sys.executable))
    module, name = app.split(":")
    options = ["--master", "--die-on-term", "--threads", "4", "--enable-threads", "--need-app"]
    options += ["--pythonpath", os.environ["PYTHONPATH"], "--virtualenv", sys.prefix]
    options += ["--module", module, "--callable", name, "--http-socket", where]
    os.execv(program, [program, *options])


# What shows no socket


def asgi(bind, app, *command):
    """Run an ASGI server's command, with `app` bridged."""
    os.environ["BRIDGED"] = app
    where = listening(bind, listens=False)
    where.set_inheritable(inheritable=True)
    port = str(where.getsockname()[1])
    program, *options = [each.replace("PORT", port) for each in command]
    path = os.path.join(os.path.dirname(sys.executable), program)
    os.execv(path, [path, *options])


@server
def uvicorn_a2wsgi(bind, app):
    asgi(bind, app, "uvicorn", "--port", "PORT", "bridged:by_a2wsgi")


@server
def uvicorn_asgiref(bind, app):
    asgi(bind, app, "uvicorn", "--port", "PORT", "bridged:by_asgiref")


@server
def uvicorn_wsgi(bind, app):
    asgi(bind, app, "uvicorn", "--port", "PORT", "--interface", "wsgi", app)


@server
def hypercorn_wsgi(bind, app):
    port = listening(bind, listens=False)
    port.set_inheritable(inheritable=True)
    where = f"127.0.0.1:{port.getsockname()[1]}"
    path = os.path.join(os.path.dirname(sys.executable), "hypercorn")
    os.execv(path, [path, "--bind", where, f"wsgi:{app}"])


@server
def daphne_asgiref(bind, app):
    asgi(bind, app, "daphne", "-p", "PORT", "bridged:by_asgiref")


@server
def gunicorn_asgi(bind, app):
    asgi(bind, app, "gunicorn", "-k", "asgi", "-b", "127.0.0.1:PORT", "bridged:by_a2wsgi")


@server
def granian(bind, app):
    asgi(bind, app, "granian", "--interface", "wsgi", "--port", "PORT", app)


@server
def tornado(bind, app):
    import asyncio

    from tornado.httpserver import HTTPServer
    from tornado.wsgi import WSGIContainer

    async def serve():
        made = HTTPServer(WSGIContainer(load(app)))
        sock = listening(bind)
        sock.settimeout(0)
        made.add_socket(sock)
        await asyncio.Event().wait()

    asyncio.run(serve())


@server
def bjoern(bind, app):
    import bjoern

    bjoern.server_run(listening(bind), load(app))


if __name__ == "__main__":
    SERVERS[sys.argv[1].replace("-", "_")](*sys.argv[2:])
