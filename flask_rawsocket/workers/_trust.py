"""Whether an address is in a list such as ``forwarded_allow_ips``, found once and remembered.

gunicorn parses the peer's address for every request and compares it with every network of the list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gunicorn.http import message

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["is_allowed"]

_MOST: Final = 1024
"""How many answers are remembered."""

_find: Final[Any] = vars(message)["_ip_in_allow_list"]
"""gunicorn's, in whose place ours is."""

_answers: dict[tuple[str, ...], bool] = {}


def is_allowed(address: str, allow_list: Sequence[str], networks: Any) -> bool:
    """Tell whether `address` is in `allow_list`, as gunicorn does.

    Args:
        address: a peer's.
        allow_list: the setting; ``*`` stands for every address.
        networks: the same as objects of ``ipaddress``, computed by gunicorn.
    """
    key = (address, *allow_list)
    answer = _answers.get(key)
    if answer is None:
        if len(_answers) >= _MOST:
            _answers.clear()
        _answers[key] = answer = bool(_find(address, allow_list, networks))
    return answer
