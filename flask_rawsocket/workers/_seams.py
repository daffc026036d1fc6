"""What we rely on of gunicorn, checked by name when the arbiter starts.

gunicorn is not pinned from above: a release that has moved something fails in one sentence there,
and not in a request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import gunicorn

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gunicorn.workers import base

__all__ = ["check_seams"]


def check_seams(worker: type[base.Worker], seams: Iterable[tuple[object, str]]) -> None:
    """Check that this gunicorn has what `worker` relies on.

    Args:
        worker: the worker class, for the text.
        seams: pairs of a module, class or object of gunicorn's and an attribute that it must have.

    Raises:
        RuntimeError: something is missing; gunicorn prints the text and stops.
    """
    missing = [f"{_name(owner)}.{name}" for owner, name in seams if not hasattr(owner, name)]
    if missing:
        raise RuntimeError(
            f"flask_rawsocket.workers.{worker.__name__} needs {', '.join(missing)}, "
            f"which gunicorn {gunicorn.__version__} does not have; 25.3 to 27.0 do."
        )


def _name(owner: object) -> str:
    for attribute in ("__qualname__", "__name__"):
        if hasattr(owner, attribute):
            return str(getattr(owner, attribute))
    return type(owner).__qualname__
