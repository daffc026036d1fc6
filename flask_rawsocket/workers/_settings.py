"""gunicorn's settings as plain attributes, which a request asks for some twenty times.

``Config`` looks each of them up by a function of Python's, and another one of the setting's: a
fifth of all instructions of a small request. The values do not change while a worker serves, but
by ``Config.set``; so they are kept in the object itself, where Python finds them first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gunicorn.config import Config

__all__ = ["keep_plain"]

_COMPUTED: Final = ("_forwarded_allow_networks", "_proxy_allow_networks")
"""What ``Config`` computes of a setting and keeps, and would not compute again; None at first."""


def keep_plain(cfg: Config) -> None:
    """Keep the settings of `cfg` as plain attributes, and those that are set from here on.

    Args:
        cfg: the worker's. What the class has as a property stays one.
    """
    plain = vars(cfg)

    def keep(name: str) -> None:
        if not hasattr(type(cfg), name):
            plain[name] = cfg.settings[name].get()

    def set_plain(name: str, value: Any) -> None:
        type(cfg).set(cfg, name, value)
        keep(name)
        for networks in _COMPUTED:
            plain[networks] = None

    for name in cfg.settings:
        keep(name)
    plain["set"] = set_plain
