"""Networks that turn pictures and texts into numbers, read from ComfyUI's models/ folders. Nothing is downloaded.

files         what is there, what is missing and where to put it
preparation   pictures as a network wants them. Pure
transformers_models  CLIP, SigLIP, DINOv2, image classifiers, readers of text: folders as Hugging Face lays them out
pieces        texts as SigLIP reads them
faces         detector and recogniser of faces: ONNX, as InsightFace lays them out

The pack asks only for these methods; a picture is H x W x 3, float32, 0..1:

embed(pictures)      unit vectors, n x d          embed_texts(texts)  the same, in the same space
classify(pictures)   probabilities by label       read(lines)         what pictures of lines of text say
find(picture)        its faces; embed(picture) of a FaceEncoder: with their vectors
"""

from __future__ import annotations


class MissingWeights(Exception):
    """Weights or a backend are not there; the message names the file, the folder, or the package."""
