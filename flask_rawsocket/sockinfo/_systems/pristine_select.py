"""The system's own ``select`` module, whatever has been patched over it.

gevent replaces ``select.poll`` by one that knows neither POLLRDHUP nor a call that does not yield,
and the order of imports decides who sees which. So the functions here are not taken from
``sys.modules`` but from a second instance of the extension module, that nobody else holds: what
this package calls with a timeout of zero never blocks and needs no event loop.
"""

from __future__ import annotations

from importlib import util
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import select as pristine
else:
    _spec = util.find_spec("select")
    pristine = util.module_from_spec(_spec)
    _spec.loader.exec_module(pristine)

__all__ = ["pristine"]
