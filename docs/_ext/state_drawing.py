"""Draws a state table as SVG: the states in a row, each move as an arrow.

A move to the right goes above the row, one to the left below it. No state is known by name here, so
the drawing is what the table says.
"""

from __future__ import annotations

import itertools

__all__ = ["draw"]

WIDTH, HEIGHT, GAP = 112, 40, 56
LIFT = 30
"""How much higher an arrow is for each state that it passes over."""
SPREAD = 12
"""How far apart the arrows that leave or reach one state are."""


HEAD = (
    '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7"'
    ' markerHeight="7" orient="auto"><path fill="currentColor" d="M0 0 10 5 0 10z"/>'
    "</marker></defs>"
)


def draw(states, transitions):
    """Return the SVG of `transitions`, a mapping from a state's name to those that may follow.

    Args:
        states: the names, from left to right.
        transitions: the moves; the key None stands for the beginning.
    """
    place = {name: GAP + index * (WIDTH + GAP) for index, name in enumerate(states)}
    moves = [
        (old, new)
        for old, following in transitions.items()
        if old is not None
        for new in sorted(following, key=states.index)
    ]
    reach = [_distance(states, move) for move in moves]
    top = LIFT * max((each for each in reach if each > 1), default=0) + 16
    bottom = LIFT * max((-each for each in reach if each < 0), default=0) + 16
    height, width = top + HEIGHT + bottom, GAP + len(states) * (WIDTH + GAP)
    ports = _ports(states, moves)
    opening = (
        f'<svg class="state-diagram" role="img" viewBox="0 0 {width} {height}"'
        ' xmlns="http://www.w3.org/2000/svg" style="width:100%;max-width:56rem;height:auto">'
    )
    parts = [
        opening,
        "<title>The states of a connection and the moves between them</title>",
        HEAD,
        '<g fill="none" stroke="currentColor" stroke-width="1.5" marker-end="url(#head)">',
        *(_arrow(move, states, place, ports, top) for move in moves),
        *(
            f'<path data-to="{name}" d="M{place[name] - GAP + 8} {top + HEIGHT / 2}h{GAP - 10}"/>'
            for name in transitions.get(None, ())
        ),
        "</g>",
        *(_box(name, place[name], top, final=not transitions[name]) for name in states),
        "</svg>",
    ]
    return "\n".join(parts)


def _distance(states, move):
    old, new = map(states.index, move)
    return new - old


def _ports(states, moves):
    """Return where, relative to the middle of a box, each curved move leaves and arrives."""
    ports = {}
    for name, above in itertools.product(states, (True, False)):
        ends = [
            (move, end)
            for move in moves
            for end in (0, 1)
            if move[end] == name
            and _distance(states, move) != 1
            and (_distance(states, move) > 0) is above
        ]
        # From left to right by where the other end is, so that arrows do not cross at the box.
        # Of those on one side the nearest is innermost.
        ends.sort(key=lambda each: _order(states, name, *each))
        for index, each in enumerate(ends):
            ports[each] = (index - (len(ends) - 1) / 2) * SPREAD * 1.6
    return ports


def _order(states, name, move, end):
    away = states.index(move[1 - end]) - states.index(name)
    return (away > 0, -away)


def _arrow(move, states, place, ports, top):
    old, new = move
    distance = _distance(states, move)
    names = f'data-from="{old}" data-to="{new}"'
    if distance == 1:
        return f'<path {names} d="M{place[old] + WIDTH} {top + HEIGHT / 2}h{GAP - 2}"/>'
    start = place[old] + WIDTH / 2 + ports[move, 0]
    end = place[new] + WIDTH / 2 + ports[move, 1]
    edge = top if distance > 0 else top + HEIGHT
    # A cubic Bezier reaches three quarters of the way to its control points.
    control = edge - LIFT * distance * 4 / 3
    return f'<path {names} d="M{start} {edge}C{start} {control} {end} {control} {end} {edge}"/>'


def _box(name, left, top, *, final):
    shape = (
        f'<rect x="{left}" y="{top}" width="{WIDTH}" height="{HEIGHT}" rx="8"'
        ' fill="none" stroke="currentColor" stroke-width="1.5"/>'
    )
    inner = (
        f'<rect x="{left + 4}" y="{top + 4}" width="{WIDTH - 8}" height="{HEIGHT - 8}" rx="5"'
        ' fill="none" stroke="currentColor"/>'
        if final
        else ""
    )
    text = (
        f'<text x="{left + WIDTH / 2}" y="{top + HEIGHT / 2}"'
        ' text-anchor="middle" fill="currentColor"'
        f' dominant-baseline="central" font-family="sans-serif" font-size="15">{name}</text>'
    )
    return shape + inner + text
