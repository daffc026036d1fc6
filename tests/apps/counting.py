"""`ending`'s application, counted for Prometheus."""

import logging

from contract import rawsocket
from taking import app

from flask_rawsocket import current_conn, metrics

__all__ = ["app"]

handler = logging.StreamHandler()
handler.addFilter(metrics.ConnectionFilter())
handler.setFormatter(logging.Formatter("conn=%(conn_id)s %(conn_key)s: %(message)s"))
log = logging.getLogger("counting")
log.addHandler(handler)

exporter = metrics.prometheus(rawsocket)


@app.get("/metrics")
def counts():
    return exporter.response()


@app.get("/log")
def log_something():
    log.warning("hello")
    return {"id": current_conn.id, "key": current_conn.key}
