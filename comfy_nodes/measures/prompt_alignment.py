"""prompt_alignment: how well a picture matches a text, by the cosine of their vectors.

CLIPScore (Hessel et al., EMNLP 2021) takes the cosine as it is. Cosines of different networks lie in different ranges:
OpenAI's and OpenCLIP's CLIPs give about 0.15 for a text that has nothing to do with a picture and 0.3 for its caption,
SigLIP (Zhai et al., ICCV 2023) about 0 and 0.12. The calibration stretches these to 0..1.
"""

from __future__ import annotations

from . import Measure, Measured, curve

MEASURE = Measure("prompt_alignment", "text-image-cosine", 2, "cosine")

_RANGES = {"clip": (0.16, 0.30), "siglip": (0.0, 0.12)}


def prompt_alignment(cosine: float, kind: str) -> Measured:
    """`kind` is the model type of the encoder: clip or siglip."""
    return Measured(curve.rising(cosine, *_RANGES[kind]), cosine)
