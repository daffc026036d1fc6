"""A gunicorn configuration: counts the worker's Python calls, function by function.

The worker writes what it counted to the file that ``$PYTHON_CALLS`` names, as JSON, when it
ends. Calls of functions written in C are not counted.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import CodeType, FrameType

FILE = "PYTHON_CALLS"

_counts: dict[tuple[int, CodeType], int] = {}


def _count(frame: FrameType, event: str, _argument: object) -> None:
    if event == "call":
        key = (threading.get_ident(), frame.f_code)  # no two threads write to the same entry
        _counts[key] = _counts.get(key, 0) + 1


def post_worker_init(_worker: object) -> None:
    """Begin to count, in this thread and in every one that is started from now on."""
    threading.setprofile(_count)
    sys.setprofile(_count)


def worker_exit(_server: object, _worker: object) -> None:
    """Write down what was counted."""
    sys.setprofile(None)
    found: Counter[str] = Counter()
    for (_, code), count in list(_counts.items()):
        found[f"{_module(code.co_filename)}:{code.co_qualname}"] += count
    Path(os.environ[FILE]).write_text(json.dumps(found), encoding="utf-8")


def _module(filename: str) -> str:
    """Shorten a file's name to what is the same in every checkout and environment."""
    folders = [folder for folder in sys.path if folder and Path(filename).is_relative_to(folder)]
    return filename.removeprefix(max(folders, key=len, default="")).lstrip("/")
