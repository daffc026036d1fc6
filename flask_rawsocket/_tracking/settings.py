"""`Settings`: what an application configures of the server that it runs in."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Settings"]


@dataclass(slots=True)
class Settings:
    """For the whole process; the last application to be set up is heard."""

    header_timeout: float | None = 10.0
    """Seconds from a request's first byte to the end of its head; None for no limit."""

    unix_remote_addr: bool | None = None
    """Whether the override of a UNIX peer is its REMOTE_ADDR too; None before any set-up."""

    save_syn: bool = False
    """Whether the listeners keep the SYN of each connection."""

    stop_timeout: float | None = 5.0
    """Seconds that hijacked connections have at a stop; None for the server's whole grace."""
