"""What a simulated ComfyUI is made of: the machine it claims to run on, its model files, and the version it plays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from orchestrator.simulator.comfyui.faults import Fault

GIB = 1024**3
MB = 10**6

ModelFiles = Mapping[str, Mapping[str, int]]
"""Folder -> file name -> size in bytes, as ComfyUI's models/ directory would hold them."""

DEFAULT_MODELS: ModelFiles = MappingProxyType(
    {
        "checkpoints": {
            "v1-5-pruned-emaonly-fp16.safetensors": 2133 * MB,
            "sd_xl_base_1.0.safetensors": 6938 * MB,
            "sd_xl_refiner_1.0.safetensors": 6075 * MB,
        },
        "diffusion_models": {"flux1-dev.safetensors": 23802 * MB},
        "text_encoders": {"clip_l.safetensors": 246 * MB, "t5xxl_fp16.safetensors": 9788 * MB},
        "vae": {"ae.safetensors": 335 * MB, "vae-ft-mse-840000-ema-pruned.safetensors": 335 * MB},
        "loras": {"detail_tweaker_lora.safetensors": 37 * MB},
        "controlnet": {"control_v11p_sd15_canny_fp16.safetensors": 723 * MB},
        "upscale_models": {"RealESRGAN_x4plus.pth": 67 * MB, "RealESRGAN_x4plus.safetensors": 67 * MB},
        "clip_vision": {"clip_vision_h.safetensors": 1264 * MB},
        "embeddings": {"easynegative.safetensors": MB // 40},
    }
)


@dataclass(frozen=True)
class Profile:
    """What tells one ComfyUI version from another on the wire; the defaults are those of the newest."""

    version: str
    jobs_api: bool = True
    """/api/jobs exists."""
    strict_prompt_ids: bool = True
    """prompt_id must be a canonical UUID; otherwise anything is taken as a string."""
    cache_by_memory: bool = True
    """Results of earlier prompts stay cached while RAM is plentiful; otherwise the newest prompt's only."""
    reads_extra_data: bool = True
    """extra_data.preview_method chooses the previews, and create_time is added to extra_data."""
    throttles_progress: bool = True
    """Progress without a picture is sent at most every 0.1 s, but for the first and the last step."""
    names_cycles: bool = True
    """A cycle is reported as dependency_cycle; otherwise as the exception that the recursion ended in."""
    names_missing_nodes: bool = True
    """An unknown class is missing_node_type with its title; otherwise invalid_prompt."""
    checks_all_combos: bool = True
    """A value is held against the choices of the newer kind of combo too."""
    guards_views: bool = True
    """/view forbids browsers to guess types, and to show what they might run."""
    short_audio_names: bool = True
    """Saved sounds are named x_00001.flac; otherwise x_00001_.flac."""
    marks_stills: bool = False
    """A clip of one frame is shown as not animated; otherwise nothing is said."""


NEWEST = Profile("0.33.0")
OLDER = Profile(
    "0.3.64",
    jobs_api=False,
    strict_prompt_ids=False,
    cache_by_memory=False,
    reads_extra_data=False,
    throttles_progress=False,
    names_cycles=False,
    names_missing_nodes=False,
    checks_all_combos=False,
    guards_views=False,
    short_audio_names=False,
    marks_stills=True,
)
PROFILES: Mapping[str, Profile] = MappingProxyType({profile.version: profile for profile in (NEWEST, OLDER)})


@dataclass(frozen=True)
class SimConfig:
    """One simulated ComfyUI. Sizes in bytes, speeds in bytes a second, times in seconds."""

    version: str = NEWEST.version
    """A key of PROFILES."""
    device: Literal["cuda", "cpu"] = "cuda"
    vram_bytes: int = 24 * GIB
    ram_bytes: int = 64 * GIB
    disk_speed: float = math.inf
    """Disk to RAM. The default costs no time."""
    bus_speed: float = math.inf
    """RAM to VRAM. The default costs no time."""
    models: ModelFiles = field(default_factory=lambda: DEFAULT_MODELS)
    models_directory: Path | None = None
    """What lies in it, by FOLDER/NAME, are models too, from the moment that it is there."""
    step_seconds: float = 0.0
    """One step of a sampler, whatever the size of the picture."""
    directory: Path | None = None
    """Holds input/, output/ and temp/; one that is removed at the end when omitted."""
    max_upload_bytes: int = 100 << 20
    """ComfyUI's --max-upload-size: of one body."""
    collect_seconds: float = 0.0
    """The garbage collection after a prompt, while which ComfyUI's executing thread listens to nobody."""
    node_pack: bool = False
    """The fleet's own is installed: /fleet/residency tells what is in memory, /fleet/inventory what it is made of."""
    node_pack_gaps: Mapping[str, str] = field(default_factory=dict[str, str])
    """What the pack cannot read (models, cache or files), and why."""
    made_of: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What /fleet/inventory says beside the models: comfyui, node_packs, python, packages."""
    weights: Mapping[str, str] = field(default_factory=dict[str, str])
    """What is in model files FOLDER/NAME, in a word; two of other words have other digests."""
    faults: tuple[Fault, ...] = ()
    """How it fails, from its start on."""

    @property
    def model_files(self) -> ModelFiles:
        """All models of this moment."""
        if self.models_directory is None:
            return self.models
        found = {folder: dict(files) for folder, files in self.models.items()}
        for path in self.models_directory.glob("*/**/*"):
            folder, *name = path.relative_to(self.models_directory).parts
            if path.is_file() and not path.name.startswith("."):
                found.setdefault(folder, {})["/".join(name)] = path.stat().st_size
        return found

    @property
    def profile(self) -> Profile:
        """Raises ValueError, naming the known versions, for one that is not known."""
        if self.version not in PROFILES:
            raise ValueError(f"cannot simulate ComfyUI {self.version}: choose one of {', '.join(PROFILES)}")
        return PROFILES[self.version]
