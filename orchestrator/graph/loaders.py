"""Which inputs name model files, and in which of ComfyUI's model folders those lie.

ComfyUI's /object_info lists the files of a loader without saying which folder they come from, so the folder is told by
the loader's class where its input's name is ambiguous, else by the input's name, which core and custom loaders share.
Folders are keys of ComfyUI's folder_paths.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

UNKNOWN_FOLDER = "unknown"
"""Of files that are models by their names, in a loader that says nothing about where they lie."""

_MODEL_SUFFIXES = (".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl", ".gguf", ".onnx")

_BY_CLASS = {
    ("CLIPVisionLoader", "clip_name"): "clip_vision",
    ("UpscaleModelLoader", "model_name"): "upscale_models",
    ("LatentUpscaleModelLoader", "model_name"): "latent_upscale_models",
    ("FrameInterpolationModelLoader", "model_name"): "frame_interpolation",
    ("OpticalFlowLoader", "model_name"): "optical_flow",
    ("LoadMoGeModel", "model_name"): "geometry_estimation",
    ("LoadDA3Model", "model_name"): "geometry_estimation",
    ("LoadMediaPipeFaceLandmarker", "model_name"): "detection",
    ("ModelPatchLoader", "name"): "model_patches",
    ("DiffusersLoader", "model_path"): "diffusers",
    ("LTXAVTextEncoderLoader", "text_encoder"): "text_encoders",
    ("TrainLoraNode", "existing_lora"): "loras",
    # Widely used custom loaders whose input says only "model_name".
    ("SAMLoader", "model_name"): "sams",
    ("UltralyticsDetectorProvider", "model_name"): "ultralytics",
    ("UpscaleModelLoader|pysssss", "model_name"): "upscale_models",
}

_BY_INPUT = {
    "audio_encoder": "audio_encoders",
    "base_ckpt": "checkpoints",
    "bg_removal": "background_removal",
    "checkpoint": "checkpoints",
    "ckpt": "checkpoints",
    "clip": "text_encoders",
    "clip_vision": "clip_vision",
    "control_net": "controlnet",
    "controlnet": "controlnet",
    "diffusion_model": "diffusion_models",
    "gligen": "gligen",
    "hypernetwork": "hypernetworks",
    "instantid": "instantid",
    "ipadapter": "ipadapter",
    "lora": "loras",
    "photomaker_model": "photomaker",
    "pulid": "pulid",
    "refiner_ckpt": "checkpoints",
    "style_model": "style_models",
    "text_encoder": "text_encoders",
    "unet": "diffusion_models",
    "upscale_model": "upscale_models",
    "vae": "vae",
}
_WITHOUT_ROLE = re.compile(r"(?:_(?:name|file|path))?_?\d*$")  # lora_name_3 and ckpt_path say lora and ckpt

_NOT_FILES = frozenset({"", "none", "[none]", "default", "auto", "disabled", "baked vae", "pixel_space"})


def looks_like_model(name: Any) -> bool:
    """Whether a value reads as the name of one model file."""
    return isinstance(name, str) and name.lower().endswith(_MODEL_SUFFIXES) and len(name) < 256 and name.isprintable()


def is_model_name(folder: str, name: Any) -> bool:
    """Whether a value of a loader's input names a model, and not one of the words beside them, such as "None"."""
    if folder == "diffusers":  # its models are folders
        return isinstance(name, str) and name.lower() not in _NOT_FILES
    return looks_like_model(name)


@lru_cache(maxsize=4096)
def known_folder(class_type: str, input_name: str) -> str | None:
    """The folder that an input's class or name tells; None when they tell nothing."""
    return _BY_CLASS.get((class_type, input_name)) or _BY_INPUT.get(_WITHOUT_ROLE.sub("", input_name.lower(), count=1))


def combo_folder(class_type: str, input_name: str, options: Iterable[Any]) -> str | None:
    """The folder whose files a combo offers; None for a combo of something else."""
    if told := _BY_CLASS.get((class_type, input_name)):
        return told
    names = [option for option in options if not isinstance(option, str) or option.lower() not in _NOT_FILES]
    told = known_folder(class_type, input_name)
    if not names or (told and any(map(looks_like_model, names))):
        return told
    return UNKNOWN_FOLDER if all(map(looks_like_model, names)) else None
