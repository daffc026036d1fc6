"""The Flask application, for servers that are given an application and not a factory."""

from __future__ import annotations

from app import flask_alone

application = flask_alone()
