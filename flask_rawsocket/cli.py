"""``flask rawsocket``: the development server with tracked connections."""

from __future__ import annotations

from typing import Any

import click
from flask.cli import run_command as flask_run_command

from . import serving

__all__ = ["rawsocket_command"]


@click.group("rawsocket", short_help="The connections under the requests.")
def rawsocket_command() -> None:
    """Run the development server in which every view has its connection."""


@click.pass_context
def _run(context: click.Context, /, **options: Any) -> None:
    with serving.replacing_werkzeug():
        context.forward(flask_run_command, **options)


rawsocket_command.add_command(
    click.Command(
        "run",
        # `flask run`'s own options, and the FLASK_RUN_* variables that go with them.
        params=list(flask_run_command.params),
        context_settings={"auto_envvar_prefix": "FLASK_RUN"},
        callback=_run,
        short_help="Run a development server with tracked connections.",
        help=(
            "Run a local development server in which every view has its connection.\n\n"
            "Takes the options of `flask run`, and like it is for development only."
        ),
    )
)
