"""`ending`'s application, counted for Prometheus."""

import os

from contract import rawsocket
from flask import request
from taking import app

from flask_rawsocket import current_conn, metrics

__all__ = ["app"]

exporter = metrics.prometheus(rawsocket)


@app.get("/metrics")
def counts():
    return exporter.response()


@app.get("/pid")
def pid():
    return {"pid": os.getpid(), "id": current_conn.id, "path": request.path}
