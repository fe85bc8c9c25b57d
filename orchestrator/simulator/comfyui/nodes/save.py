"""Output nodes: pictures as ComfyUI writes them; other media as files of the right kind, without the content."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL.PngImagePlugin import PngInfo

from orchestrator.simulator.comfyui.files import Files
from orchestrator.simulator.comfyui.nodes.registry import Shown, node
from orchestrator.simulator.comfyui.run import Preview, Run
from orchestrator.simulator.comfyui.values import Audio, Images, Latent, mark, mark_of

PNG_LEVEL_SAVED = 4
PNG_LEVEL_PREVIEWED = 1
WEBP_METHODS = {"default": 4, "fastest": 0, "slowest": 6}


@node("SaveImage")
def save_image(run: Run, images: Images, filename_prefix: str = "ComfyUI") -> Shown:
    return Shown((images,), {"images": _save_pngs(run, images, filename_prefix, "output", PNG_LEVEL_SAVED)})


@node("PreviewImage")
def preview_image(run: Run, images: Images) -> Shown:
    letters = "".join(chr(ord("a") + byte % 26) for byte in mark(run.node_id)[:5])
    shown = _save_pngs(run, images, f"ComfyUI_temp_{letters}", "temp", PNG_LEVEL_PREVIEWED)
    return Shown((images,), {"images": shown})


def _save_pngs(run: Run, images: Images, prefix: str, kind: str, level: int) -> list[dict[str, str]]:
    metadata = PngInfo()
    for key, value in _metadata(run).items():
        metadata.add_text(key, json.dumps(value))
    path = run.files.save_path(prefix, kind, *images[0].size)
    saved: list[dict[str, str]] = []
    for number, picture in enumerate(images):
        name = f"{path.name.replace('%batch_num%', str(number))}_{path.counter + number:05}_.png"
        picture.save(path.folder / name, pnginfo=metadata, compress_level=level)
        saved.append(_entry(name, path.subfolder, kind))
    return saved


def _changes_always(files: Files, **_: object) -> float:
    return time.time()


@node("SaveImageWebsocket", fingerprint=_changes_always)
def save_image_websocket(run: Run, images: Images) -> Shown:
    """Sends each picture whole, as a PNG in the frame of a preview."""
    progress = run.progress(len(images))
    for number, picture in enumerate(images):
        progress.update(number, Preview(picture, "PNG", None))
    return Shown((), {})


@node("SaveAnimatedWEBP")
def save_animated_webp(
    run: Run, images: Images, filename_prefix: str, fps: float, lossless: bool, quality: int, method: str
) -> Shown:
    def write(path: Path) -> None:
        frames = {"save_all": True, "append_images": images[1:], "duration": int(1000 / fps)}
        images[0].save(path, lossless=lossless, quality=quality, method=WEBP_METHODS[method], **frames)

    return _animated(run, images, _save(run, filename_prefix, "_.webp", write, images))


@node("SaveAnimatedPNG")
def save_animated_png(run: Run, images: Images, filename_prefix: str, fps: float, compress_level: int) -> Shown:
    def write(path: Path) -> None:
        frames = {"save_all": True, "append_images": images[1:], "duration": int(1000 / fps)}
        images[0].save(path, compress_level=compress_level, **frames)

    return _animated(run, images, _save(run, filename_prefix, "_.png", write, images))


def _animated(run: Run, images: Images, saved: Sequence[object]) -> Shown:
    moves = len(images) > 1
    said = moves or run.machine.config.profile.marks_stills
    return Shown((images,), {"images": saved} | ({"animated": (moves,)} if said else {}))


@node("SaveWEBM")
def save_webm(run: Run, images: Images, filename_prefix: str, codec: str, fps: float, crf: float) -> Shown:
    """An EBML header that says webm, then a Void element with a digest of the frames."""
    header = b"\x1a\x45\xdf\xa3\x87\x42\x82\x84webm"
    content = header + b"\xec\x90" + mark(codec, fps, crf, mark_of(images))
    saved = _save(run, filename_prefix, "_.webm", lambda path: path.write_bytes(content), images)
    return Shown((images,), {"images": saved, "animated": (True,)})


@node("VHS_VideoCombine")
def video_combine(
    run: Run,
    images: Images,
    frame_rate: float,
    loop_count: int,
    filename_prefix: str,
    format: str,
    pingpong: bool,
    save_output: bool,
) -> Shown:
    """As the node that most custom workflows use for clips: its files are shown under `gifs`."""
    frames = images + images[-2:0:-1] if pingpong else images
    suffix, kind = f".{format.partition('/')[2]}", "output" if save_output else "temp"
    path = run.files.save_path(filename_prefix, kind, *images[0].size)
    name = f"{path.name}_{path.counter:05}{suffix}"
    duration = int(1000 / frame_rate)
    frames[0].save(path.folder / name, save_all=True, append_images=frames[1:], duration=duration, loop=loop_count)
    entry = _entry(name, path.subfolder, kind) | {"format": format, "frame_rate": frame_rate}
    return Shown(((save_output, [str(path.folder / name)]),), {"gifs": [entry]})


@node("SaveLatent")
def save_latent(run: Run, samples: Latent, filename_prefix: str) -> Shown:
    """A safetensors file whose tensor is a digest of the latent."""
    content = b"".join(frame.mark or b"\0" * 16 for frame in samples.frames)
    tensor = {"dtype": "U8", "shape": [len(samples.frames), 16], "data_offsets": [0, len(content)]}
    header = json.dumps({"latent_tensor": tensor}).encode()
    data = struct.pack("<Q", len(header)) + header + content
    saved = _save(run, filename_prefix, "_.latent", lambda path: path.write_bytes(data))
    return Shown((samples,), {"latents": saved})


@node("EmptyAudio")
def empty_audio(run: Run, duration: float, sample_rate: int, channels: int) -> tuple[Audio]:
    return (Audio(duration, sample_rate, channels),)


@node("SaveAudio")
def save_audio(run: Run, audio: Audio, filename_prefix: str) -> Shown:
    """A FLAC file with its stream description and no frames."""
    samples = round(audio.seconds * audio.sample_rate)
    rate = audio.sample_rate << 44 | (audio.channels - 1) << 41 | 15 << 36 | samples
    info = struct.pack(">HH6xQ16x", 4096, 4096, rate)
    content = b"fLaC" + b"\x80" + len(info).to_bytes(3, "big") + info
    suffix = ".flac" if run.machine.config.profile.short_audio_names else "_.flac"
    return Shown((audio,), {"audio": _save(run, filename_prefix, suffix, lambda path: path.write_bytes(content))})


@node("SimMesh")
def sim_mesh(run: Run, name: str) -> tuple[str]:
    """A stand-in for the many nodes that make meshes with a model."""
    return (name,)


@node("SaveGLB")
def save_glb(run: Run, mesh: str, filename_prefix: str) -> Shown:
    """A binary glTF with one named, empty node."""
    scene = json.dumps({"asset": {"version": "2.0"}, "nodes": [{"name": mesh}]}).encode()
    scene += b" " * (-len(scene) % 4)
    content = struct.pack("<4sIIII", b"glTF", 2, 20 + len(scene), len(scene), 0x4E4F534A) + scene
    return Shown((), {"3d": _save(run, filename_prefix, "_.glb", lambda path: path.write_bytes(content))})


def _save(
    run: Run, prefix: str, suffix: str, write: Callable[[Path], object], images: Images | None = None
) -> list[dict[str, str]]:
    path = run.files.save_path(prefix, "output", *(images[0].size if images else ()))
    name = f"{path.name}_{path.counter:05}{suffix}"
    write(path.folder / name)
    return [_entry(name, path.subfolder, "output")]


def _entry(name: str, subfolder: str, kind: str) -> dict[str, str]:
    return {"filename": name, "subfolder": subfolder, "type": kind}


def _metadata(run: Run) -> dict[str, Any]:
    return {"prompt": run.prompt, **(run.extra_data.get("extra_pnginfo") or {})}
