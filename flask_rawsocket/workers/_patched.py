"""A process whose sockets have been patched is told so, and not served in."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from gunicorn.arbiter import Arbiter

from .._sockets.patched import PatchedError, check_unpatched

if TYPE_CHECKING:
    from gunicorn.workers import base

__all__ = ["SEAMS", "check_sockets", "stop_if_patched"]

SEAMS = ((Arbiter, "WORKER_BOOT_ERROR"),)


def check_sockets(worker: type[base.Worker]) -> None:
    """Check that nothing has replaced the sockets that ours are made of.

    Raises:
        PatchedError: something has; gunicorn prints the text and stops.
    """
    check_unpatched(f"flask_rawsocket.workers.{worker.__name__}")


def stop_if_patched(worker: base.Worker) -> None:
    """Do not boot `worker` in such a process.

    Raises:
        SystemExit: it is one, which the log says; the arbiter stops as well.
    """
    try:
        check_sockets(type(worker))
    except PatchedError as exc:
        worker.log.error("%s", exc)  # noqa: TRY400  one sentence
        sys.exit(Arbiter.WORKER_BOOT_ERROR)
