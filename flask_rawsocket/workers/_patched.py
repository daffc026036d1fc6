"""A process whose sockets have been patched is told so, and not served in."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from gunicorn.arbiter import Arbiter

from .._sockets.patched import PatchedError

if TYPE_CHECKING:
    from ._common import TrackingWorker

__all__ = ["SEAMS", "stop_if_patched"]

SEAMS = ((Arbiter, "WORKER_BOOT_ERROR"),)


def stop_if_patched(worker: TrackingWorker) -> None:
    """Do not boot `worker` in such a process.

    Raises:
        SystemExit: it is one, which the log says; the arbiter stops as well.
    """
    try:
        worker.check_process()
    except PatchedError as exc:
        worker.log.error("%s", exc)  # noqa: TRY400  one sentence
        sys.exit(Arbiter.WORKER_BOOT_ERROR)
