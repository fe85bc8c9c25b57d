"""What the fleet has shown of itself: seconds per profile, pace per GPU kind, paces of loading and fetching per worker.

All of them are corrected by the ratio of what was seen to what was expected, clipped, as times are spread by factors
and not by differences, and one odd run must not turn the scheduler. Until something was seen, stated priors hold.
"""

from __future__ import annotations

import json
from typing import Any

PRIOR_EXECUTE_S = 10.0  # of a profile that has never run: a picture on an ordinary GPU
WEIGHT = 0.2  # of the newest run of a profile, once some were seen
GPU_WEIGHT = 0.02  # slower: it is shared by all profiles
PACE_WEIGHT = 0.1
FETCH_WEIGHT = 0.5  # files are few, and large
CLIP = 4.0  # an observation moves an estimate as if it were at most this many times off
SETTLED = 3  # runs of a profile before what it shows counts for the GPU's pace
KEPT = 10_000  # profiles, and workers; the least recently seen go first
LEAST_SHARE = 0.5  # of a run that loaded something is taken for execution, until it is known better
SHORTEST_S = 1e-3
FORMAT = 1


class Learned:
    """Expected seconds. `changed` tells whether there is something new to save."""

    def __init__(self) -> None:
        self.changed = False
        self._execute: dict[str, tuple[float, int]] = {}  # profile -> seconds on a GPU of pace 1, runs seen
        self._gpu: dict[str, float] = {}  # GPU kind -> seconds there per second on a GPU of pace 1
        self._load: dict[str, float] = {}  # worker -> seconds of loading there per second expected by the priors
        self._fetch: dict[str, float] = {}  # the same of fetching

    def knows(self, profile: str) -> bool:
        """Whether a run of this profile was seen."""
        return profile in self._execute

    def execute_s(self, profile: str, gpu: str) -> float:
        """Expected seconds of execution, without loading."""
        known = self._execute.get(profile)
        return (known[0] if known else PRIOR_EXECUTE_S) * self._gpu.get(gpu, 1.0)

    def load_pace(self, worker: str) -> float:
        """Factor on the load seconds that the priors give."""
        return self._load.get(worker, 1.0)

    def fetch_pace(self, worker: str) -> float:
        """Factor on the seconds of fetching that the prior gives."""
        return self._fetch.get(worker, 1.0)

    def fetched(self, worker: str, expected_s: float, seconds: float) -> None:
        """A file came to the worker's disk in so many seconds, where the pace says `expected_s`."""
        was = self._fetch.pop(worker, 1.0)
        self._fetch[worker] = was * _clipped(seconds / expected_s) ** FETCH_WEIGHT
        if len(self._fetch) > KEPT:
            del self._fetch[next(iter(self._fetch))]
        self.changed = True

    def ran(self, profile: str, gpu: str, worker: str, expected_load_s: float, load_s: float, execute_s: float) -> None:
        """A run took `execute_s` in all, and `load_s` of them went into loading, thinks the worker."""
        pace = self._gpu.get(gpu, 1.0)
        seconds = max(execute_s, SHORTEST_S)
        base, runs = self._execute.pop(profile, (0.0, 0))
        if load_s > 0:
            # How much of it was loading is a guess: it serves until a run shows it that loaded nothing.
            base = base or max(seconds - load_s, seconds * LEAST_SHARE) / pace
        elif not runs:
            base, runs = seconds / pace, 1
        else:
            ratio = _clipped(seconds / (base * pace))
            base, runs = base * ratio ** max(WEIGHT, 1 / (runs + 1)), runs + 1
            if runs > SETTLED:
                self._gpu[gpu] = pace * ratio**GPU_WEIGHT
        self._execute[profile] = base, runs
        if expected_load_s > 0 and load_s > 0:  # else residency was misjudged, which says nothing about pace
            was = self._load.pop(worker, 1.0)
            self._load[worker] = was * _clipped(load_s / expected_load_s) ** PACE_WEIGHT
        for seen in (self._execute, self._load):
            if len(seen) > KEPT:
                del seen[next(iter(seen))]
        self.changed = True

    def dump(self) -> bytes:
        """All of it, for `load`; `changed` is taken back."""
        self.changed = False
        document = {
            "format": FORMAT, "execute": self._execute, "gpu": self._gpu, "load": self._load, "fetch": self._fetch,
        }  # fmt: skip
        return json.dumps(document, separators=(",", ":")).encode()

    @classmethod
    def load(cls, blob: bytes | None) -> Learned:
        """What `dump` wrote. Raises ValueError for anything else."""
        learned = cls()
        if blob is None:
            return learned
        document: Any = json.loads(blob)
        try:
            if document["format"] != FORMAT:
                raise ValueError(f"learned times are of format {document['format']}, not {FORMAT}")
            learned._execute = {str(key): (float(base), int(runs)) for key, (base, runs) in document["execute"].items()}
            learned._gpu = {str(key): float(pace) for key, pace in document["gpu"].items()}
            learned._load = {str(key): float(pace) for key, pace in document["load"].items()}
            learned._fetch = {str(key): float(pace) for key, pace in document.get("fetch", {}).items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"learned times are not as they were written: {error!r}") from error
        return learned


def _clipped(ratio: float) -> float:
    return min(max(ratio, 1 / CLIP), CLIP)
