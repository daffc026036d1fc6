"""Hooks that write down what they see."""

from __future__ import annotations

from flask_rawsocket._tracking.hooks import Hooks


def watch(tracker, *states):
    """Give a list that fills with `(id, old, new)`, and the hooks, to be kept alive."""
    hooks, seen = Hooks(), []
    hooks.add(states, lambda conn, old, new: seen.append((conn.id, old, new)))
    tracker.add_hooks(hooks)
    return seen, hooks
