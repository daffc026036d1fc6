"""``flask rawsocket``: the development server, a table of connections, and a server's end."""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING, Any, NoReturn

import click
from flask.cli import run_command as flask_run_command

from . import _drain, _ss
from ._connection.state import ConnState
from ._sockets.patched import PatchedError
from .serving import _server as serving

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["rawsocket_command"]


@click.group("rawsocket", short_help="The connections under the requests.")
def rawsocket_command() -> None:
    """Run the development server in which every view has its connection; list connections."""


@rawsocket_command.command("drain", short_help="Stop gunicorn, and watch its connections end.")
@click.argument("pid", type=click.IntRange(min=1), required=False)
@click.option("--pidfile", metavar="FILE", help="Take the process id from gunicorn's pidfile.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, max=86400),
    metavar="SECONDS",
    help="Wait no longer than that; without it, wait until all processes have ended.",
)
@click.pass_context
def _drain_command(
    context: click.Context, *, pid: int | None, pidfile: str | None, timeout: float | None
) -> None:
    """Have gunicorn stop, and say how many connections are left, whenever that changes.

    PID is the process id of gunicorn's arbiter, which is sent TERM: it accepts nothing more, and
    ends when its requests have. The exit code is 0 when all of its processes have ended, and 1
    where some have not by the timeout.
    """
    if (pid is None) == (pidfile is None):
        raise click.UsageError("Pass either PID or --pidfile FILE.")
    left = None
    for left in _drain.drain(_drain.read_pidfile(pidfile) if pidfile else pid or 0, timeout):
        click.echo(left)
    if left is not None and left.processes:
        click.echo(f"Given up after {timeout:g} seconds: {left}.", err=True)
        context.exit(1)


@click.pass_context
def _run(context: click.Context, /, **options: Any) -> None:
    with serving.replacing_werkzeug():
        try:
            context.forward(flask_run_command, **options)
        except PatchedError as exc:
            raise click.ClickException(str(exc)) from exc


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


_STATES = [each.name for each in ConnState if each is not ConnState.CLOSED]


class _Seconds(click.FloatRange):
    """The interval of ``--watch``; its error text names the usual mistake."""

    name = "number of seconds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, str) and "/" in value:
            given = _ss.without_userinfo(value)
            self.fail(
                f"{given} is not a number of seconds: the URL comes before --watch.", param, ctx
            )
        seconds: float = super().convert(value, param, ctx)
        if math.isnan(seconds):  # no range excludes it
            self.fail(f"{value} is not a number of seconds.", param, ctx)
        return seconds


@rawsocket_command.command("ss", short_help="Show the live connections of a running application.")
@click.argument("url", default=_ss.DEFAULT_URL)
@click.option(
    "--unix-socket",
    metavar="PATH",
    help="Connect to this UNIX socket instead of the URL's host, as curl does.",
)
@click.option("--insecure", "-k", is_flag=True, help="Accept any certificate.")
@click.option(
    "--watch",
    "-w",
    type=_Seconds(min=0.1, max=86400),
    metavar="[SECONDS]",
    is_flag=False,
    flag_value=2.0,
    help="Refresh at this interval, 2 seconds by default, until Ctrl-C; the exit code is then 0.",
)
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(_STATES, case_sensitive=False),
    help="Show only connections in this state; may be given more than once.",
)
@click.option(
    "--sort",
    type=click.Choice([column.name for column in _ss.COLUMNS], case_sensitive=False),
    help="Sort by a column: numbers from the largest down, text from A to Z.",
)
def _ss_command(
    *,
    url: str,
    unix_socket: str | None,
    insecure: bool,
    watch: float | None,
    states: tuple[str, ...],
    sort: str | None,
) -> None:
    """Show the live connections of a running application, one per line.

    URL is where the application answers with the JSON of `RawSocket.snapshot()`;
    http://127.0.0.1:8000/api/connections by default. If the application runs in several
    processes, the table shows the connections of the one that answers.

    The columns include the bytes waiting to be read (recv-q) and to be acknowledged (send-q), the
    round-trip time, the congestion window in segments, and the retransmitted segments. A dash is
    what the system does not report, such as the last three over UNIX sockets.

    On a terminal the table is coloured if Rich is installed (the extra `cli`). Keys are shortened
    if it is too wide, and with --watch it has as many rows as fit. Anywhere else it is plain text:
    a head and the rows.
    """
    endpoint = _ss.Endpoint(url, unix_socket=unix_socket, insecure=insecure)

    def fetch() -> _ss.Page:
        return _ss.select(endpoint.fetch(), states, sort)

    page = fetch()
    with contextlib.ExitStack() as stack:
        if watch is not None:
            stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        display = stack.enter_context(contextlib.closing(_ss.display(watching=watch is not None)))
        display.show(page)
        if watch is not None:
            _watch(fetch, display, watch)


def _watch(fetch: Callable[[], _ss.Page], display: _ss.Display, seconds: float) -> NoReturn:
    """Show what `fetch` returns again and again, even after it has failed."""
    while True:
        time.sleep(seconds)
        try:
            display.show(fetch())
        except _ss.EndpointError as exc:
            display.fail(exc.format_message())
