"""Showing: the outputs of a job that watchers see before it has succeeded, and how they agree with its result.

An output that was shown keeps its index, also when the run that made it is lost and another makes it anew: what is the
same then is not told again, so that a retry costs watchers nothing but time. What counts in the end is the committed
result alone: what it lacks is withdrawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from orchestrator.domain.asset import Output

_Place: TypeAlias = tuple[str, str, int]  # node, name, and which one of those that share both


def merged(shown: Sequence[Output], made: Iterable[Output]) -> tuple[Output, ...]:
    """What is to be seen while a run goes on: each output that was shown, as this run has made it if it has by now, and
    then what it made beyond that."""
    return tuple({**_placed(shown), **_placed(made)}.values())


def settled(shown: Sequence[Output], result: Iterable[Output]) -> tuple[Output, ...]:
    """The result of a run in the order in which it was shown; what was not shown comes last."""
    by_place = _placed(result)
    order = [place for place in _placed(shown) if place in by_place]
    return tuple(by_place[place] for place in dict.fromkeys([*order, *by_place]))


def news(shown: Sequence[Output], outputs: Sequence[Output]) -> Sequence[tuple[int, Output]]:
    """With their indexes, those that whoever saw `shown` has not seen."""
    seen = [(output.node_id, output.name, output.hash) for output in shown]
    return [
        (n, output)
        for n, output in enumerate(outputs)
        if n >= len(seen) or (output.node_id, output.name, output.hash) != seen[n]
    ]


def _placed(outputs: Iterable[Output]) -> Mapping[_Place, Output]:
    """A run writes into a folder of its own, so that every run gives an output the same name."""
    places: dict[_Place, Output] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for output in outputs:
        same = (output.node_id, output.name)
        places[*same, counts[same]] = output
        counts[same] += 1
    return places
