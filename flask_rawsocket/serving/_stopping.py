"""How the development server is stopped from its terminal."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import werkzeug.serving

__all__ = ["shutting_down"]


@contextlib.contextmanager
def shutting_down(server: werkzeug.serving.BaseWSGIServer) -> Iterator[None]:
    """Inside, the first Ctrl-C shuts the server down; one more is Python's KeyboardInterrupt.

    That may be raised anywhere, such as between an accept and the thread for what was accepted.
    Without threads it is what interrupts the request in hand, and stays so.
    """
    main = threading.current_thread() is threading.main_thread()
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not (server.multithread and main and usual):
        yield
        return

    def shut_down(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:  # not here: it waits for this thread
            threading.Thread(target=server.shutdown, daemon=True).start()
        except RuntimeError:
            raise KeyboardInterrupt from None

    signal.signal(signal.SIGINT, shut_down)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
