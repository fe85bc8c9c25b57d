import json
import struct
import zlib
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from orchestrator.delivery.media import HEAD_BYTES, MAX_FRAMES, MAX_PIXELS, Media, inspect, verify_image
from orchestrator.domain.asset import MediaType
from orchestrator.errors import InvalidRequest

PICTURES = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "AVIF": "image/avif",
}


def picture(kind: str, width: int = 40, height: int = 30, **options: object) -> bytes:
    image = Image.radial_gradient("L").resize((width, height)).convert("RGB")
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def frames(kind: str, count: int, width: int, height: int) -> bytes:
    file = BytesIO()
    pages = [Image.new("L", (width, height), number % 2 * 255) for number in range(count)]
    pages[0].save(file, kind, save_all=True, append_images=pages[1:])
    return file.getvalue()


def png_that_says(width: int, height: int) -> bytes:
    """A PNG of one row that claims this size."""
    chunks = b""
    for name, body in (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0" * 4)),
        (b"IEND", b""),
    ):
        chunks += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    return b"\x89PNG\r\n\x1a\n" + chunks


def latent() -> bytes:
    header = json.dumps({"__metadata__": {"prompt": "x" * 9000}, "latent_tensor": {"dtype": "F32"}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(64)


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("name", ["a", "a.txt", "a.html"])
def test_a_picture_is_known_by_its_bytes(kind: str, name: str):
    assert inspect(picture(kind), name) == Media(PICTURES[kind], MediaType.IMAGE, 40, 30)


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_every_flavour_of_webp_tells_its_size(lossless: bool, mode: str):
    file = BytesIO()
    Image.new(mode, (301, 7), 99).save(file, "WEBP", lossless=lossless, exif=b"Exif\0\0II*\0" if lossless else b"")
    assert inspect(file.getvalue()[:30]) == Media("image/webp", MediaType.IMAGE, 301, 7)


def test_the_beginning_of_a_picture_is_enough():
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP"):
        data = picture(kind, 900, 700)
        assert inspect(data[: len(data) // 2]) == Media(PICTURES[kind], MediaType.IMAGE, 900, 700)


@pytest.mark.parametrize(
    ("head", "name", "content_type", "kind"),
    [
        (b"\0\0\0\x20ftypisom\0\0\2\0", "a", "video/mp4", MediaType.VIDEO),
        (b"\0\0\0\x14ftypqt  \0\0\0\0", "a", "video/quicktime", MediaType.VIDEO),
        (b"\0\0\0\x1cftypM4A \0\0\0\0", "a", "audio/mp4", MediaType.AUDIO),
        (b"\0\0\0\x18ftypmif1\0\0\0\0avif\0\0\0\0", "a", "image/avif", MediaType.IMAGE),
        (b"\x1aE\xdf\xa3\x01\0\0\0\0\0\0\x1fB\x82\x84webm", "a", "video/webm", MediaType.VIDEO),
        (b"\x1aE\xdf\xa3\x01\0\0\0\0\0\0\x23B\x82\x88matroska", "a", "video/x-matroska", MediaType.VIDEO),
        (b"RIFF\0\0\0\0WAVEfmt ", "a", "audio/wav", MediaType.AUDIO),
        (b"fLaC\0\0\0\x22", "a", "audio/flac", MediaType.AUDIO),
        (b"ID3\x04\0\0", "a", "audio/mpeg", MediaType.AUDIO),
        (b"\xff\xfb\x90\x64\0", "a", "audio/mpeg", MediaType.AUDIO),
        (b"OggS\0\2" + bytes(22) + b"\1\x13OpusHead", "a", "audio/ogg", MediaType.AUDIO),
        (b"glTF\2\0\0\0", "a", "model/gltf-binary", MediaType.FILE),
        (b"PK\3\4", "a.png", "application/zip", MediaType.FILE),
        (b"\x80\4\x95\0\0\0\0\0\0\0\0", "a.png", "application/octet-stream", MediaType.FILE),
        (b"%PDF-1.7", "a.png", "application/pdf", MediaType.FILE),
        (b"plain words", "a.png", "text/plain", MediaType.TEXT),
        (b"BMW is a car", "a.bmp", "text/plain", MediaType.TEXT),
        (b'{"a": 1}', "a.json", "application/json", MediaType.TEXT),
        (b"a,b\n1,2\n", "a.csv", "text/csv", MediaType.TEXT),
        (b"o cube\nv 0 0 0\n", "a.obj", "model/obj", MediaType.FILE),
        (bytes(84), "a.stl", "model/stl", MediaType.FILE),
        (b"", "a.png", "application/octet-stream", MediaType.FILE),
        (latent(), "a", "application/octet-stream", MediaType.LATENT),
    ],
)
def test_other_files(head: bytes, name: str, content_type: str, kind: MediaType):
    assert inspect(head, name) == Media(content_type, kind)


@pytest.mark.parametrize(
    ("head", "content_type"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><!-- a --><!DOCTYPE svg PUBLIC ''>\n<SVG>", "image/svg+xml"),
        (b"\n <!DOCTYPE html><html>", "text/html"),
        (b"<html><svg>", "text/html"),
        (b"<script>alert(1)</script>", "text/html"),
        (b"<?xml version='1.0'?><a/>", "application/xml"),
    ],
)
def test_markup_is_never_an_image_nor_text(head: bytes, content_type: str):
    assert inspect(head, "a.png") == Media(content_type, MediaType.FILE)
    with pytest.raises(InvalidRequest, match="send PNG"):
        verify_image(head, "a.png")


def test_looking_at_hostile_markup_takes_no_time():
    assert inspect(b"<?xml?>" * 50_000 + b"!", "a").content_type == "application/xml"


def test_text_may_be_cut_within_a_character():
    text = "a" + "ü" * HEAD_BYTES
    assert inspect(text.encode()[:HEAD_BYTES]).content_type == "text/plain"
    assert inspect("ü".encode()[:1]).content_type == "application/octet-stream"


@given(st.binary(max_size=300), st.text(max_size=20))
def test_nothing_makes_it_fail(head: bytes, name: str):
    assert inspect(head, name).content_type


@settings(max_examples=300)
@given(st.sampled_from(sorted(PICTURES)), st.data())
def test_a_mutated_picture_is_read_or_refused_by_name(kind: str, data: st.DataObject):
    mutated = bytearray(_SMALL[kind])
    for _ in range(data.draw(st.integers(1, 8))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    inspect(bytes(mutated))
    try:
        verify_image(bytes(mutated), "a")
    except InvalidRequest as error:
        assert error.code == "invalid_image"


_SMALL = {kind: picture(kind, 12, 9) for kind in PICTURES}


@pytest.mark.parametrize("kind", PICTURES)
def test_a_whole_picture_passes(kind: str):
    assert verify_image(picture(kind), "a") == Media(PICTURES[kind], MediaType.IMAGE, 40, 30)
    file = BytesIO(picture(kind))
    assert verify_image(file, "a").width == 40
    assert not file.closed  # its caller goes on to store it


@pytest.mark.parametrize("kind", PICTURES)
def test_a_truncated_picture_is_refused(kind: str):
    data = picture(kind, 400, 300)
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(InvalidRequest) as refused:
            verify_image(data[: int(len(data) * share)], "holiday.png")
        assert refused.value.code == "invalid_image"
        assert "holiday.png" in refused.value.message


@pytest.mark.parametrize("size", [(30_000, 30_000), (MAX_PIXELS + 1, 1), (2**31 - 1, 2**31 - 1)])
def test_a_bomb_is_refused_before_it_is_decoded_but_its_size_is_told(size: tuple[int, int]):
    assert inspect(png_that_says(*size)) == Media("image/png", MediaType.IMAGE, *size)
    with pytest.raises(InvalidRequest, match="pixels"):
        verify_image(png_that_says(*size), "a")


def test_an_animation_passes_up_to_so_many_frames_and_pixels():
    assert verify_image(frames("GIF", 40, 16, 8), "a") == Media("image/gif", MediaType.IMAGE, 16, 8)
    with pytest.raises(InvalidRequest, match=f"{MAX_FRAMES} frames"):
        verify_image(frames("GIF", MAX_FRAMES + 1, 1, 1), "a")
    with pytest.raises(InvalidRequest, match="pixels"):
        verify_image(frames("TIFF", 30, 2000, 2000), "a")


@pytest.mark.parametrize("data", [b"", b"hello", b"\x80\4\x95\0\0\0\0", b"PK\3\4", b"\0\0\0\x18ftypheic\0\0\0\0"])
def test_what_comfyui_cannot_read_as_a_picture_is_refused(data: bytes):
    with pytest.raises(InvalidRequest) as refused:
        verify_image(data, "a.png")
    assert refused.value.code == "invalid_image"
