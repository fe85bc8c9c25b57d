"""expression and safety: what a classifier's probabilities say."""

from __future__ import annotations

import re
from collections.abc import Mapping

from . import Measure, Measured, Unscorable

EXPRESSION = Measure("expression", "classifier", 2, "probability")
SAFETY = Measure("safety", "classifier", 2, "probability")


def expression(probabilities: Mapping[str, float], wanted: str) -> Measured:
    """`raw` is the probability of the wanted label; of several wanted ones, of any of them."""
    raw = sum(probabilities[label] for label in labels(wanted, probabilities))
    return Measured(min(1.0, raw), raw, details=probabilities)


def safety(probabilities: Mapping[str, float], unsafe: str) -> Measured:
    """`raw` is the probability of the unsafe labels together; the value is what that leaves to 1."""
    raw = sum(probabilities[label] for label in labels(unsafe, probabilities))
    return Measured(max(0.0, 1 - raw), raw, details=probabilities)


def labels(text: str, known: Mapping[str, float]) -> list[str]:
    """The labels of a text, with commas between. Raises Unscorable for one that the classifier does not have."""
    named = list(dict.fromkeys(part.strip().lower() for part in re.split(r"[,;\n]", text) if part.strip()))
    unknown = [label for label in named if label not in known]
    if unknown or not named:
        what = f"the classifier has no label {', '.join(map(repr, unknown))}" if unknown else "no label is given"
        raise Unscorable(f"{what}; it has {', '.join(sorted(known))}")
    return named
