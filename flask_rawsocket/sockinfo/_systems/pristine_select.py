"""`pristine`: the system's own ``select`` module, even if it has been patched.

gevent replaces ``select.poll`` with one that does not know POLLRDHUP and always yields, and which
of the two a module gets depends on the order of imports. So this is a second instance of the
extension module, which is not in ``sys.modules`` and which nobody patches. This package calls it
with a timeout of zero: that never blocks, and needs no event loop.
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
