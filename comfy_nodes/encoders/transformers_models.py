# pyright: reportMissingImports=false
"""Encoders of the transformers library, from local folders with safetensors. ComfyUI brings torch and transformers.

All compute in float32: half precision would move scores by more than the 1e-3 that devices may differ.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..internals.weights import place, run
from ..measures.picture import Picture
from . import MissingWeights, pieces
from .files import FOLDER, IMAGE, READER, classifiers, read_json
from .preparation import Preparation, preparation

Vectors = npt.NDArray[np.float32]

_BATCH = 16
_WORKING_BYTES = 64 << 20  # of activations, for each picture of a batch
_KEPT = 3  # encoders in RAM; a graph rarely scores with more
_UNUSED = ("pooler.",)  # by what is read here of a network, so that folders may lack it


class Encoder:
    """Of pictures (CLIP, SigLIP, DINOv2) and, if it is of two towers, of texts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = _config(folder, IMAGE)
        self.kind: str = self.config["model_type"]
        self._prepare = _preparation(folder)
        self._model = _load("AutoModel", folder)
        self._patcher = place(self._model, _weights(folder))

    def embed(self, pictures: Sequence[Picture]) -> Vectors:
        """Unit vectors, n x d."""
        return np.concatenate([self._embed(some) for some in _batches(pictures)])

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors in the space of the pictures. What is longer than the encoder reads is cut off."""
        tokens = self._tokens(texts)

        def forward(device: Any) -> Any:
            return self._model.get_text_features(**{name: numbers.to(device) for name, numbers in tokens.items()})

        return self._run(len(texts), forward)

    def _tokens(self, texts: Sequence[str]) -> Mapping[str, Any]:
        """As in their training: CLIP's with a mask, SigLIP's in lower case, of full length and without a mask."""
        import torch

        clip = self.kind == "clip"
        length = int(self.config.get("text_config", {}).get("max_position_embeddings", 77 if clip else 64))
        if not clip and (self.folder / pieces.FILE).is_file():
            with _reading(self.folder, pieces.FILE):
                return {"input_ids": torch.tensor(pieces.Pieces(self.folder)(texts, length))}
        padding = True if clip else "max_length"
        tokens = _tokenizer(self.folder)(
            [text.lower() for text in texts], padding=padding, truncation=True, max_length=length, return_tensors="pt"
        )
        return {name: tokens[name] for name in (("input_ids", "attention_mask") if clip else ("input_ids",))}

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
        if folder.name not in classifiers():
            raise MissingWeights(f"{folder.name} is no image classifier: its config.json names another architecture")
        self._prepare = _preparation(folder)
        self._model = _load("AutoModelForImageClassification", folder)
        self.labels = [str(label) for _, label in sorted(self._model.config.id2label.items())]
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
        _config(folder, READER)
        self._prepare = _preparation(folder)
        self._tokenizer = _tokenizer(folder)
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
    """The network in float32. Pickles are not read, code in the folder is not run. Raises MissingWeights, also where
    the file lacks weights: they would be made up."""
    import transformers

    with _reading(folder, "config.json and model.safetensors"):
        model, found = getattr(transformers, auto_class).from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    missing = [name for name in sorted(found["missing_keys"]) if not any(part in name for part in _UNUSED)]
    if missing:
        told = f"the weights in models/{FOLDER}/{folder.name} lack {missing[0]} and {len(missing) - 1} more"
        raise MissingWeights(f"{told}: they are of another network than its config.json; put both from one place")
    return model.float().eval()


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    with _reading(folder, "tokenizer.json (or vocab.json and merges.txt)"):
        try:
            return AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except ImportError as error:  # for want of files it tries one more kind, whose package is not there
            raise OSError("there is no tokenizer that can be read") from error


def _config(folder: Path, kinds: Collection[str]) -> Mapping[str, Any]:
    """config.json, if it is of one of these types."""
    with _reading(folder, "config.json"):
        config = read_json(folder / "config.json")
    if (kind := str(config.get("model_type"))) not in kinds:
        raise MissingWeights(f"{folder.name} is of type {kind}: choose one of type {' or '.join(sorted(kinds))}")
    return config


def _preparation(folder: Path) -> Preparation:
    with _reading(folder, "preprocessor_config.json"):
        processor = read_json(folder / "preprocessor_config.json")
        if not processor:
            raise OSError("there is no preprocessor_config.json")
        return preparation(processor, read_json(folder / "config.json"))


@contextmanager
def _reading(folder: Path, files: str) -> Iterator[None]:
    """What another library says of a file is no help without the file's name."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, SafetensorError) as error:
        why = next(filter(None, str(error).splitlines()), type(error).__name__)[:200]
        raise MissingWeights(
            f"models/{FOLDER}/{folder.name} cannot be read: put its {files} there again ({why})"
        ) from error


def _weights(folder: Path) -> Path:
    return next(iter(sorted(folder.glob("*.safetensors"))))


def _batches(pictures: Sequence[Picture]) -> Iterator[Sequence[Picture]]:
    for start in range(0, len(pictures), _BATCH):
        yield pictures[start : start + _BATCH]
