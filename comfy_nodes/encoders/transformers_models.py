# pyright: reportMissingImports=false
"""Encoders of the transformers library, from local folders with safetensors. ComfyUI brings torch and transformers.

All compute in float32: half precision would move scores by more than the 1e-3 that devices may differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..internals.weights import place, run
from ..measures.picture import Picture
from .files import read_json
from .preparation import preparation

Vectors = npt.NDArray[np.float32]

_BATCH = 16
_WORKING_BYTES = 64 << 20  # of activations, for each picture of a batch
_KEPT = 3  # encoders in RAM; a graph rarely scores with more


class Encoder:
    """Of pictures (CLIP, SigLIP, DINOv2) and, if it is of two towers, of texts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = read_json(folder / "config.json")
        self.kind: str = self.config["model_type"]
        self._prepare = preparation(read_json(folder / "preprocessor_config.json"), self.config)
        self._model = _load("AutoModel", folder)
        self._patcher = place(self._model, _weights(folder))

    def embed(self, pictures: Sequence[Picture]) -> Vectors:
        """Unit vectors, n x d."""
        return np.concatenate([self._embed(some) for some in _batches(pictures)])

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors in the space of the pictures. What is longer than the encoder reads is cut off."""
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
        clip = self.kind == "clip"
        length = int(self.config.get("text_config", {}).get("max_position_embeddings", 77 if clip else 64))
        padding = True if clip else "max_length"  # SigLIP was trained on full length, and without a mask
        tokens = tokenizer(list(texts), padding=padding, truncation=True, max_length=length, return_tensors="pt")
        names = ("input_ids", "attention_mask") if clip else ("input_ids",)

        def forward(device: Any) -> Any:
            return self._model.get_text_features(**{name: tokens[name].to(device) for name in names})

        return self._run(len(texts), forward)

    def _embed(self, pictures: Sequence[Picture]) -> Vectors:
        import torch

        pixels = torch.from_numpy(self._prepare(pictures))
        two_towers = hasattr(self._model, "get_image_features")

        def forward(device: Any) -> Any:
            on_device = pixels.to(device)
            return self._model.get_image_features(on_device) if two_towers else self._model(on_device)

        return self._run(len(pictures), forward)

    def _run(self, count: int, forward: Callable[[Any], Any]) -> Vectors:
        out = run(self._patcher, count * _WORKING_BYTES, forward)
        vectors = getattr(out, "pooler_output", out)  # newer versions answer more than the vectors
        array = vectors.float().cpu().numpy()
        return array / np.maximum(np.linalg.norm(array, axis=1, keepdims=True), 1e-12)


class Classifier:
    """Of pictures, by labels."""

    def __init__(self, folder: Path) -> None:
        config = read_json(folder / "config.json")
        self.labels = [str(label) for _, label in sorted(config["id2label"].items(), key=lambda item: int(item[0]))]
        self._prepare = preparation(read_json(folder / "preprocessor_config.json"), config)
        self._model = _load("AutoModelForImageClassification", folder)
        self._patcher = place(self._model, _weights(folder))

    def classify(self, pictures: Sequence[Picture]) -> list[dict[str, float]]:
        """For each picture the probability of each label, lower case."""
        import torch

        def forward(device: Any, some: Sequence[Picture]) -> Any:
            return self._model(torch.from_numpy(self._prepare(some)).to(device)).logits.float().softmax(dim=1).cpu()

        names = [label.lower() for label in self.labels]
        found = [
            run(self._patcher, len(some) * _WORKING_BYTES, lambda device, some=some: forward(device, some))
            for some in _batches(pictures)
        ]
        return [dict(zip(names, map(float, row), strict=True)) for rows in found for row in rows.numpy()]


class Reader:
    """Of the text in pictures of single lines (TrOCR)."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        config = read_json(folder / "config.json")
        self._prepare = preparation(read_json(folder / "preprocessor_config.json"), config)
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model = _load("VisionEncoderDecoderModel", folder)
        self._patcher = place(self._model, _weights(folder))

    def read(self, lines: Sequence[Picture]) -> list[str]:
        """What each line says."""
        import torch

        pixels = torch.from_numpy(self._prepare(lines))

        def forward(device: Any) -> Any:
            return self._model.generate(pixels.to(device), max_new_tokens=64, do_sample=False, num_beams=1)

        tokens = run(self._patcher, len(lines) * _WORKING_BYTES, forward)
        return [text.strip() for text in self._tokenizer.batch_decode(tokens.cpu(), skip_special_tokens=True)]


@lru_cache(_KEPT)
def encoder(folder: Path) -> Encoder:
    """That of a folder, read once."""
    return Encoder(folder)


@lru_cache(_KEPT)
def classifier(folder: Path) -> Classifier:
    return Classifier(folder)


@lru_cache(1)
def reader(folder: Path) -> Reader:
    return Reader(folder)


def _load(auto_class: str, folder: Path) -> Any:
    """The network in float32. Pickles are not read, code in the folder is not run."""
    import transformers

    network = getattr(transformers, auto_class)
    return network.from_pretrained(folder, local_files_only=True, use_safetensors=True).float().eval()


def _weights(folder: Path) -> Path:
    return next(iter(sorted(folder.glob("*.safetensors"))))


def _batches(pictures: Sequence[Picture]) -> Iterator[Sequence[Picture]]:
    for start in range(0, len(pictures), _BATCH):
        yield pictures[start : start + _BATCH]
