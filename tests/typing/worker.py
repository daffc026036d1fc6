"""The worker by its short name, as in ``gunicorn -k flask_rawsocket.Worker``."""

from __future__ import annotations

from flask_rawsocket import Worker
from flask_rawsocket.workers import ThreadWorker


class OurWorker(Worker):
    """A worker is a class, and may have subclasses."""


workers: list[type[ThreadWorker]] = [Worker, OurWorker]
