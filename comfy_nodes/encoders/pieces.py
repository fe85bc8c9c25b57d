# pyright: reportMissingImports=false
"""SigLIP's way of reading a text, from its spiece.model.

The transformers library does the same with a package (protobuf) that ComfyUI does not bring.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FILE = "spiece.model"

_PUNCTUATION = str.maketrans("", "", string.punctuation)


class Pieces:
    """Texts as numbers of pieces: lower case and without punctuation, as in its training, each `length` long."""

    def __init__(self, folder: Path) -> None:
        import sentencepiece

        self._processor: Any = sentencepiece.SentencePieceProcessor(str(folder / FILE))

    def __call__(self, texts: Sequence[str], length: int) -> list[list[int]]:
        end = self._processor.eos_id()
        read = [self._processor.encode(canonical(text))[: length - 1] for text in texts]
        return [numbers + [end] * (length - len(numbers)) for numbers in read]


def canonical(text: str) -> str:
    """The text as it is cut into pieces."""
    return " ".join(text.lower().translate(_PUNCTUATION).split())
