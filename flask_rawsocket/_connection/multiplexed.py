"""`Multiplexed`: a request's own end, where its connection may carry several: on HTTP/2."""

from __future__ import annotations

__all__ = ["Multiplexed"]


class Multiplexed:
    """The part of a request that may be a stream; of any other it says nothing."""

    __slots__ = ()

    must_be_asked: bool = False
    """Whether the peer's end may be one that nobody sees who does not ask: a stream's."""

    def peer_has_left(self) -> bool:
        """Tell whether the peer has ended this request, on a connection that goes on."""
        return False

    @property
    def has_left(self) -> bool:
        """Whether it is known, without asking, that the peer has."""
        return False

    def abort(self) -> bool:
        """End this request alone; tell whether that could be, the connection going on."""
        return False

    def client_is_gone(self) -> None:
        """The application has been stopped because its client is gone."""
