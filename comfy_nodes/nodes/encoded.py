"""The scoring nodes that need weights. These are read when a score needs them; where they are missing the score says
which file to put where, and the run goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..encoders import files
from ..measures import Measured, Unscorable, classified, faces, prompt_alignment, text_legibility
from ..measures.picture import Picture, large_enough
from .base import Judge, Scorer, mask_if_any, pictures_of, sound

_ONE_FOR_ALL = "one for all images, or one for each"
_CLASSIFIER = "classifier"


def choice(found: Sequence[str], tooltip: str) -> tuple[list[str], dict[str, Any]]:
    """A list of encoders; the first that is there is chosen."""
    return [*found, files.NONE], {"default": first(found), "tooltip": tooltip}


def first(found: Sequence[str]) -> str:
    """What is taken where a graph in API format names none."""
    return found[0] if found else files.NONE


class EncodedScorer(Scorer):
    """A scorer with a list of encoders, which may name one that this ComfyUI does not have, or none at all."""

    @classmethod
    def VALIDATE_INPUTS(cls, encoder: Any = None, faces: Any = None) -> bool:
        """Says yes, for what is named here: missing weights fail the score, and not the run."""
        return True


class FleetPromptAlignment(EncodedScorer):
    """Cosine of image and text vectors of CLIP or SigLIP, calibrated. Images of any size, in batches of 16."""

    MEASURE = prompt_alignment.MEASURE
    DESCRIPTION = "How well the image shows what the prompt says, by a CLIP or SigLIP in models/quality."

    @classmethod
    def further_inputs(cls) -> dict[str, dict[str, Any]]:
        tooltip = "What the images should show. The encoder reads about 50 words; what is longer is cut off."
        prompt = {"default": "", "multiline": True, "tooltip": tooltip}
        encoder = choice(files.listed(files.DUAL), "A CLIP or SigLIP folder in models/quality.")
        return {"required": {"prompt": ("STRING", prompt)}, "optional": {"encoder": encoder}}

    def judge_batch(self, images: Any, prompt: str, encoder: str | None = None) -> Judge:
        from ..encoders import transformers_models

        encoder = encoder or first(files.listed(files.DUAL))
        if not prompt.strip():
            raise Unscorable("the prompt is empty: connect or write what the image should show")
        network = transformers_models.encoder(files.folder(encoder, "CLIP or SigLIP"))
        if network.kind not in files.DUAL:
            raise Unscorable(f"{encoder} is of type {network.kind}, which reads no text: choose a CLIP or SigLIP")
        there = sound(images)
        [text] = network.embed_texts([prompt])
        cosines = dict(zip(there, network.embed(list(there.values())) @ text, strict=True)) if there else {}
        return lambda _, index: prompt_alignment.prompt_alignment(float(cosines[index]), network.kind)


class FleetFaceFidelity(EncodedScorer):
    """ArcFace cosine between the faces of the images and those of references."""

    MEASURE = faces.MEASURE
    DESCRIPTION = (
        "Whether the face is that of the references. No face is worth 0. Needs onnxruntime and an InsightFace pack in "
        "models/insightface/models."
    )

    @classmethod
    def further_inputs(cls) -> dict[str, dict[str, Any]]:
        reference = {"tooltip": "Pictures of the person, best several: each image is compared with all of them."}
        encoder = choice(files.face_packs(), "An InsightFace pack, such as buffalo_l, in models/insightface/models.")
        return {"required": {"reference": ("IMAGE", reference)}, "optional": {"encoder": encoder}}

    def judge(self, reference: Any, encoder: str | None = None) -> Judge:
        from ..encoders.faces import face_encoder

        network = face_encoder(files.face_pack(encoder or first(files.face_packs())))
        wanted = [face.vector for picture in pictures_of(reference) for face in network.embed(picture)[:1]]
        known = [vector for vector in wanted if vector is not None]

        def judge(picture: Picture, _: int) -> Measured:
            vectors = [face.vector for face in network.embed(large_enough(picture)) if face.vector is not None]
            return faces.face_fidelity(vectors, known)

        return judge


class FleetExpression(EncodedScorer):
    """Probability of the wanted labels, by an image classifier on the largest face, or on what a mask covers."""

    MEASURE = classified.EXPRESSION
    DESCRIPTION = "Whether the face has the wanted expression, by an image classifier in models/quality."

    @classmethod
    def further_inputs(cls) -> dict[str, dict[str, Any]]:
        wanted = {
            "default": "happy",
            "tooltip": "The wanted label of the classifier; any of several, with commas between.",
        }
        encoder = choice(files.classifiers(), "An image classifier for expressions: a folder in models/quality.")
        pack = choice(files.face_packs(), "Finds the face, if no mask says where it is. none: the whole image is it.")
        mask = {"tooltip": f"The face: {_ONE_FOR_ALL}. None: it is looked for."}
        return {
            "required": {"wanted": ("STRING", wanted)},
            "optional": {"encoder": encoder, "faces": pack, "mask": ("MASK", mask)},
        }

    def judge(self, wanted: str, encoder: str | None = None, faces: str | None = None, mask: Any = None) -> Judge:
        from ..encoders import transformers_models

        network = transformers_models.classifier(files.folder(encoder or first(files.classifiers()), _CLASSIFIER))
        pack = faces or first(files.face_packs())

        def judge(picture: Picture, index: int) -> Measured:
            face = _face(picture, pack, mask_if_any(mask, index))
            if face is None:
                return Measured(0.0, None, "there is no face in the image")
            [probabilities] = network.classify([face])
            return classified.expression(probabilities, wanted)

        return judge


class FleetSafety(EncodedScorer):
    """1 less the probability of the unsafe labels, by an image classifier on the whole image."""

    MEASURE = classified.SAFETY
    DESCRIPTION = "How sure an image classifier in models/quality is that the image is safe to show."

    @classmethod
    def further_inputs(cls) -> dict[str, dict[str, Any]]:
        unsafe = {
            "default": "nsfw",
            "tooltip": "The labels of the classifier that are not to be shown, with commas between.",
        }
        encoder = choice(files.classifiers(), "An image classifier for unsafe content: a folder in models/quality.")
        return {"required": {"unsafe": ("STRING", unsafe)}, "optional": {"encoder": encoder}}

    def judge_batch(self, images: Any, unsafe: str, encoder: str | None = None) -> Judge:
        from ..encoders import transformers_models

        network = transformers_models.classifier(files.folder(encoder or first(files.classifiers()), _CLASSIFIER))
        there = sound(images)
        found = dict(zip(there, network.classify(list(there.values())), strict=True)) if there else {}
        return lambda _, index: classified.safety(found[index], unsafe)


class FleetTextLegibility(EncodedScorer):
    """1 less the character error rate of a reader (TrOCR) on the lines that a mask covers."""

    MEASURE = text_legibility.MEASURE
    DESCRIPTION = "Whether the lettering reads as it should, by a TrOCR folder in models/quality."

    @classmethod
    def further_inputs(cls) -> dict[str, dict[str, Any]]:
        text = {"default": "", "multiline": True, "tooltip": "What should be written there, line by line as it stands."}
        encoder = choice(files.listed(files.READER), "A TrOCR folder in models/quality.")
        mask = {"tooltip": f"Where the text stands: {_ONE_FOR_ALL}. None: the whole image is text."}
        return {
            "required": {"text": ("STRING", text)},
            "optional": {"encoder": encoder, "mask": ("MASK", mask)},
        }

    def judge(self, text: str, encoder: str | None = None, mask: Any = None) -> Judge:
        from ..encoders import transformers_models

        wanted = [line for line in text.splitlines() if line.strip()]
        if not wanted:
            raise Unscorable("no text is given: write what the image should say")
        reader = transformers_models.reader(files.folder(encoder or first(files.listed(files.READER)), "TrOCR"))

        def judge(picture: Picture, index: int) -> Measured:
            strips = text_legibility.lines(picture, mask_if_any(mask, index), len(wanted))
            return text_legibility.text_legibility(" ".join(reader.read(strips)), " ".join(wanted))

        return judge


def likeness(name: str, one: Picture, other: Picture) -> float:
    """Cosine of two pictures by an encoder of models/quality, 0..1."""
    from ..encoders import transformers_models

    network = transformers_models.encoder(files.folder(name, "CLIP, SigLIP or DINOv2"))
    vectors = network.embed([one, other])
    return float(np.clip(vectors[0] @ vectors[1], 0, 1))


def _face(picture: Picture, pack: str, mask: Any) -> Picture | None:
    """The face in a picture; None if there is none."""
    if mask is not None:
        [cut] = text_legibility.lines(picture, mask, 1)
        return cut
    if pack == files.NONE:
        return picture
    from ..encoders.faces import face_encoder

    found = face_encoder(files.face_pack(pack)).find(picture)
    if not found:
        return None
    largest = max(found, key=lambda face: (face.box[2] - face.box[0]) * (face.box[3] - face.box[1]))
    return faces.around(picture, largest)
