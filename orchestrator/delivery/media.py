"""Media: what a file is, by its bytes. A name can lie, so it only decides between types that have no signature.

Nothing here decodes more than a header, but for `verify_image`, which reads an uploaded picture as ComfyUI would, so
that a broken or hostile one is refused at the door. Pure: bytes in, facts out.
"""

from __future__ import annotations

import codecs
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    TiffImagePlugin,
)

from orchestrator.domain.asset import MediaType
from orchestrator.errors import InvalidRequest

HEAD_BYTES = 256 << 10
"""As much of a file's beginning as `inspect` wants to see. A longer head can only help find the size of a JPEG, TIFF
or AVIF picture whose header holds more metadata than that."""

MAX_PIXELS = 89_478_485
"""Of all frames of an uploaded picture: ComfyUI holds each as three floats, so this is a gigabyte there. Pillow, which
ComfyUI reads it with, warns of a decompression bomb at the same figure."""

MAX_FRAMES = 1000

OCTETS = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Media:
    """`width` and `height` are pixels of a picture as it is stored, before any EXIF rotation; None where unknown."""

    content_type: str
    type: MediaType
    width: int | None = None
    height: int | None = None


def inspect(head: bytes, name: str = "") -> Media:
    """What a file is that begins with `head` (HEAD_BYTES of it, or all) and is called `name`. Never fails."""
    content_type = _signature(head) or _text(head, name) or _by_suffix(name)
    size = _picture_size(head, content_type)
    width, height = size or (None, None)
    return Media(content_type, _media_type(content_type, head), width, height)


def verify_image(data: bytes | BinaryIO, name: str) -> Media:
    """Reads a whole picture that was uploaded (its bytes, or a file open at its beginning).

    Raises InvalidRequest("invalid_image") for what is no picture, or not one that ComfyUI reads, or broken, or so big
    that it could only do harm. At worst it takes a gigabyte and some seconds: call it in a thread, few at a time.
    """
    file = BytesIO(data) if isinstance(data, bytes) else data
    media = inspect(file.read(HEAD_BYTES), name)
    reader = _READERS.get(media.content_type)
    if reader is None:
        raise _invalid(name, f"its bytes are {media.content_type}; send PNG, JPEG, WebP, GIF, BMP, TIFF or AVIF")
    if (media.width or 0) * (media.height or 0) > MAX_PIXELS:
        raise _too_large(name)
    file.seek(0)
    try:
        with Image.open(file, formats=[reader]) as image:
            _read_frames(image, name)
            return Media(media.content_type, media.type, *image.size)
    except InvalidRequest:
        raise
    except Exception as error:  # decoders raise anything at all when the bytes are bad
        raise _invalid(name, f"it is damaged or cut short ({error})") from error


def _read_frames(image: ImageFile.ImageFile, name: str) -> None:
    """Decodes frame after frame, as ComfyUI does, for as long as there is reason to."""
    pixels = 0
    for frame in range(MAX_FRAMES + 1):
        try:
            image.seek(frame)
        except EOFError:
            return
        pixels += image.width * image.height
        if pixels > MAX_PIXELS or frame == MAX_FRAMES:
            raise _too_large(name)
        image.load()


def _too_large(name: str) -> InvalidRequest:
    return _invalid(name, f"it has more than {MAX_PIXELS} pixels in all its frames, or more than {MAX_FRAMES} frames")


def _invalid(name: str, why: str) -> InvalidRequest:
    return InvalidRequest("invalid_image", f"{name[:200]!r} cannot be used as an image: {why}")


# --- the bytes ---

_READERS = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
    "image/avif": "AVIF",
}
"""Pillow's name of each kind of picture that may be uploaded."""

_PREFIXES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"v/1\x01", "image/x-exr"),
    (b"#?RADIANCE", "image/vnd.radiance"),
    (b"8BPS", "image/vnd.adobe.photoshop"),
    (b"fLaC", "audio/flac"),
    (b"ID3\x02", "audio/mpeg"),
    (b"ID3\x03", "audio/mpeg"),
    (b"ID3\x04", "audio/mpeg"),
    (b"glTF\x02\0\0\0", "model/gltf-binary"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
)

_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}

_BRANDS = {
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heic",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"qt  ": "video/quicktime",
}
"""Brands of the ISO container format; all others are MP4."""

_MPEG_AUDIO = (b"\xff\xfb", b"\xff\xfa", b"\xff\xf3", b"\xff\xf2", b"\xff\xe3")
_AAC = (b"\xff\xf1", b"\xff\xf9")
_LATENT_KEY = b'"latent_tensor"'  # in the header of what SaveLatent writes


def _signature(head: bytes) -> str | None:
    """The content type that the first bytes prove."""
    for prefix, content_type in _PREFIXES:
        if head.startswith(prefix):
            return content_type
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:12])
    if head.startswith(b"BM") and head[6:10] == b"\0\0\0\0":
        return "image/bmp"
    if head[4:8] == b"ftyp":
        brands = head[8 : min(int.from_bytes(head[:4]), 64)]
        return "image/avif" if b"avif" in brands or b"avis" in brands else _BRANDS.get(brands[:4], "video/mp4")
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "video/webm" if b"webm" in head[:64] else "video/x-matroska"
    if head.startswith(b"OggS"):
        return "video/ogg" if b"theora" in head[:64] else "audio/ogg"
    if head.startswith(_AAC):
        return "audio/aac"
    if head.startswith(_MPEG_AUDIO):
        return "audio/mpeg"
    return None


_MARKUP = re.compile(rb"\s*<(?:!doctype|html|head|body|script|iframe|svg|\?xml|!--)", re.IGNORECASE)
_SVG = re.compile(rb"(?>\s+|<\?.*?\?>|<!--.*?-->|<!doctype\s+svg.*?>)*+<svg", re.IGNORECASE | re.DOTALL)
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def _text(head: bytes, name: str) -> str | None:
    """The content type of text: markup that a browser would run is called so, whatever its name."""
    plain = head.removeprefix(b"\xef\xbb\xbf")
    if _SVG.match(plain):
        return "image/svg+xml"
    if _MARKUP.match(plain):
        return "application/xml" if plain.lstrip().startswith(b"<?xml") else "text/html"
    if not plain or _CONTROL.search(plain):
        return None
    try:
        codecs.getincrementaldecoder("utf-8")().decode(plain, final=len(head) < HEAD_BYTES)
    except UnicodeDecodeError:
        return None
    return _TEXT_SUFFIXES.get(_suffix(name), "text/plain")


_TEXT_SUFFIXES = {
    "json": "application/json",
    "csv": "text/csv",
    "md": "text/markdown",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
    "gltf": "model/gltf+json",
    "obj": "model/obj",
    "stl": "model/stl",
    "ply": "model/ply",
}
_BINARY_SUFFIXES = {"stl": "model/stl", "ply": "model/ply"}


def _by_suffix(name: str) -> str:
    return _BINARY_SUFFIXES.get(_suffix(name), OCTETS)


def _suffix(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _media_type(content_type: str, head: bytes) -> MediaType:
    family = content_type.partition("/")[0]
    if family in ("video", "audio") or (family == "image" and content_type != "image/svg+xml"):
        return MediaType(family)
    if family == "text" and content_type != "text/html":
        return MediaType.TEXT
    if content_type == "application/json":
        return MediaType.TEXT
    if content_type == OCTETS and head[8:9] == b"{" and _LATENT_KEY in head:
        return MediaType.LATENT
    return MediaType.FILE


# --- sizes of pictures ---


_HEADERS: dict[str, Callable[[BytesIO], ImageFile.ImageFile]] = {
    "image/jpeg": JpegImagePlugin.JpegImageFile,
    "image/gif": GifImagePlugin.GifImageFile,
    "image/bmp": BmpImagePlugin.BmpImageFile,
    "image/tiff": TiffImagePlugin.TiffImageFile,
    "image/avif": AvifImagePlugin.AvifImageFile,
}
"""Pillow's readers of headers, called past Image.open, which warns of sizes that are only to be reported here."""


def _picture_size(head: bytes, content_type: str) -> tuple[int, int] | None:
    if content_type in _BY_HAND:
        return _BY_HAND[content_type](head)
    reader = _HEADERS.get(content_type)
    if reader is None:
        return None
    try:
        with reader(BytesIO(head)) as image:
            return image.size
    except Exception:  # noqa: BLE001 - a damaged header, or one longer than the head: the size is just not known
        return None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    """By hand, as Pillow's reader wants the whole file and memory for all of its canvas."""
    kind = head[12:16]
    if len(head) < 30:
        return None
    if kind == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _png_size(head: bytes) -> tuple[int, int] | None:
    """By hand, as nearly every output is one, and Pillow's reader also takes in the graph that ComfyUI writes there."""
    return struct.unpack_from(">II", head, 16) if head[12:16] == b"IHDR" and len(head) >= 24 else None


_BY_HAND: dict[str, Callable[[bytes], tuple[int, int] | None]] = {"image/png": _png_size, "image/webp": _webp_size}
