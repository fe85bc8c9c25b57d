"""What the encoders' nodes compute without an encoder: preparation, faces, labels, lettering, files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfy_nodes.encoders import MissingWeights, files
from comfy_nodes.encoders.faces import FaceEncoder
from comfy_nodes.encoders.pieces import canonical
from comfy_nodes.encoders.preparation import preparation
from comfy_nodes.evidence.pictures import photograph
from comfy_nodes.internals.weights import register_folder
from comfy_nodes.measures import Unscorable
from comfy_nodes.measures.classified import expression, safety
from comfy_nodes.measures.faces import CROP, align, around, decode, face_fidelity
from comfy_nodes.measures.prompt_alignment import prompt_alignment
from comfy_nodes.measures.text_legibility import edits, lines, text_legibility

PICTURE = photograph("astronaut.png", 256)
TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)


def test_clip_cuts_the_middle_and_siglip_stretches() -> None:
    wide = PICTURE[:128]
    crop = {"height": 32, "width": 32}
    clip = preparation({"size": {"shortest_edge": 32}, "do_center_crop": True, "crop_size": crop}, {})
    assert clip([wide, PICTURE]).shape == (2, 3, 32, 32)
    siglip = preparation({"size": {"height": 24, "width": 24}, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]}, {})
    [stretched] = siglip([wide])
    assert stretched.shape == (3, 24, 24)
    assert stretched.mean() == pytest.approx(wide.mean(), abs=0.01)
    dinov2 = preparation({"size": {"shortest_edge": 36}, "do_center_crop": True, "crop_size": crop}, {})
    assert dinov2([wide]).shape == (1, 3, 32, 32)
    assert preparation({}, {"vision_config": {"image_size": 20}})([wide]).shape == (1, 3, 20, 20)
    assert preparation({"size": 28}, {})([wide]).shape == (1, 3, 28, 28)


def test_a_size_that_is_a_number_is_the_shorter_side_where_the_middle_is_cut() -> None:
    crop = {"height": 32, "width": 32}
    new = preparation({"size": {"shortest_edge": 32}, "do_center_crop": True, "crop_size": crop}, {})
    old = preparation({"size": 32, "do_center_crop": True, "crop_size": 32}, {})  # as OpenAI's CLIP has it
    assert (old([PICTURE[:128]]) == new([PICTURE[:128]])).all()
    square = preparation({"size": {"height": 40, "width": 40}, "do_center_crop": True, "crop_size": 32}, {})
    assert square([PICTURE[:128]]).shape == (1, 3, 32, 32)


def test_what_is_not_to_be_normalised_stays() -> None:
    prepare = preparation({"size": 8, "do_normalize": False, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}, {})
    assert prepare([np.full((8, 8, 3), 0.75, np.float32)]) == pytest.approx(0.75)


def test_normalisation_is_that_of_the_file() -> None:
    prepare = preparation({"size": {"height": 8, "width": 8}, "image_mean": [0.5, 0, 0], "image_std": [0.25, 1, 1]}, {})
    [pixels] = prepare([np.full((8, 8, 3), 0.75, np.float32)])
    assert pixels[:, 0, 0] == pytest.approx([1, 0.75, 0.75])


def test_siglip_reads_neither_case_nor_punctuation() -> None:
    assert canonical("A photo of\n an  Astronaut, isn't it?") == "a photo of an astronaut isnt it"
    assert canonical(" Ünïcode 写真! ") == "ünïcode 写真"


def test_prompt_alignment_is_calibrated_to_the_kind_of_encoder() -> None:
    assert prompt_alignment(0.31, "clip").value > 0.9 > 0.1 > prompt_alignment(0.15, "clip").value
    assert prompt_alignment(0.13, "siglip").value > 0.9 > 0.1 > prompt_alignment(-0.01, "siglip").value


def outputs(side: int, at: tuple[int, int], stride: int = 8) -> list[np.ndarray]:
    """As SCRFD answers: one face around the centre of a cell of the first stride."""
    levels = [(side // s) ** 2 * 2 for s in (8, 16, 32)]
    scores, boxes, points = ([np.zeros((n, width), np.float32) for n in levels] for width in (1, 4, 10))
    for anchor in (0, 1):  # both anchors of the cell find it
        index = (at[1] // stride * (side // stride) + at[0] // stride) * 2 + anchor
        scores[0][index] = 0.9 - 0.1 * anchor
        boxes[0][index] = [4, 5, 4, 5]
        points[0][index] = np.array([[-2, -2], [2, -2], [0, 0], [-1.5, 2], [1.5, 2]]).ravel()
    return [*scores, *boxes, *points]


def test_a_detected_face_is_where_the_detector_saw_it() -> None:
    [face] = decode(outputs(640, (320, 160)), 640, scale=2.0)
    assert face.box == ((320 - 32) / 2, (160 - 40) / 2, (320 + 32) / 2, (160 + 40) / 2)
    assert face.landmarks[2].tolist() == [160, 80]
    assert around(PICTURE, face).shape[0] > 40
    assert decode([np.zeros_like(part) for part in outputs(640, (0, 0))], 640, 1.0) == []


@given(st.floats(-0.7, 0.7), st.floats(0.5, 2.0), st.floats(-20, 20))
@settings(max_examples=30, deadline=None)
def test_alignment_undoes_any_similarity(angle: float, scale: float, moved: float) -> None:
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = (TEMPLATE - 56) @ turn.T + 128 + moved
    rows, columns = np.indices((256, 256), np.float32) / 256
    where = np.stack([columns, rows, np.zeros_like(rows)], axis=-1)  # each pixel tells its place
    found = align(where, landmarks)
    assert found.shape == (CROP, CROP, 3)
    for (x, y), (left, top) in zip(TEMPLATE, landmarks, strict=True):
        assert found[round(y), round(x), :2] * 256 == pytest.approx([left, top], abs=1.5 * scale)


def test_a_face_encoder_gives_unit_vectors() -> None:
    network = FaceEncoder(lambda _: outputs(640, (320, 320)), lambda crop: [crop.reshape(1, -1)[:, :8] * 3])
    [face] = network.embed(PICTURE)
    assert face.vector is not None
    assert np.linalg.norm(face.vector) == pytest.approx(1)


def test_a_detector_without_landmarks_is_named() -> None:
    network = FaceEncoder(lambda _: outputs(640, (320, 320))[:6], lambda crop: [crop])
    with pytest.raises(MissingWeights, match=r"6 outputs, and a SCRFD with landmarks 9: put det_10g\.onnx"):
        network.find(PICTURE)


def test_face_fidelity_is_that_of_the_best_face() -> None:
    one, other = np.eye(4)[:2]
    found = face_fidelity([other, one], [one, (one + other) / np.sqrt(2)])
    assert (found.raw, found.details["faces"]) == (1, 2)
    assert found.value > 0.9
    assert face_fidelity([other], [one]).value < 0.1
    missing = face_fidelity([], [one])
    assert (missing.value, missing.reason) == (0, "there is no face in the image")
    with pytest.raises(Unscorable, match="no face in the references"):
        face_fidelity([one], [])


def test_labels_are_added_up_and_unknown_ones_named() -> None:
    found = {"happy": 0.5, "neutral": 0.25, "angry": 0.25}
    assert expression(found, "Happy, neutral").value == 0.75
    assert safety(found, "angry").value == 0.75
    with pytest.raises(Unscorable, match="no label 'sad'; it has angry, happy, neutral"):
        expression(found, "sad")
    with pytest.raises(Unscorable, match="no label is given"):
        safety(found, " , ")


def test_lettering_is_judged_by_its_errors() -> None:
    assert text_legibility("Summer  sale", "SUMMER SALE").value == 1
    assert text_legibility("Sumer sale", "Summer sale").raw == pytest.approx(1 / 11)
    assert text_legibility("", "Sale").reason == "no text was read"
    with pytest.raises(Unscorable, match="no text is given"):
        text_legibility("x", " ")


@given(st.text("abc", max_size=6), st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_edits_are_a_distance(one: str, other: str, third: str) -> None:
    assert edits(one, one) == 0
    assert edits(one, other) == edits(other, one) <= max(len(one), len(other))
    assert edits(one, third) <= edits(one, other) + edits(other, third)


def test_lines_are_cut_out_of_the_mask() -> None:
    mask = np.zeros((256, 256), np.float32)
    mask[50:130, 20:220] = 1
    assert [line.shape for line in lines(PICTURE, mask, 2)] == [(40, 200, 3)] * 2
    with pytest.raises(Unscorable, match="too few for 9 lines"):
        lines(PICTURE, mask, 9)
    with pytest.raises(Unscorable, match="covers nothing"):
        lines(PICTURE, mask * 0, 1)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    paths = SimpleNamespace(models_dir=str(tmp_path), folder_names_and_paths={})
    monkeypatch.setitem(sys.modules, "folder_paths", paths)
    for folder in (files.FOLDER, files.FACES):
        register_folder(folder)
    for name, config in {
        "a-clip": {"model_type": "clip"},
        "a-dino": {"model_type": "dinov2"},
        "a-vit": {"model_type": "vit", "architectures": ["ViTForImageClassification"]},
    }.items():
        (tmp_path / "quality" / name).mkdir(parents=True)
        (tmp_path / "quality" / name / "config.json").write_text(json.dumps(config))
    (tmp_path / "quality/a-clip/model.safetensors").touch()
    for name, content in {"broken": b"{", "list": b"[]", "utf-16": b"\xff\xfe", "odd": b'{"model_type": []}'}.items():
        (tmp_path / "quality" / name).mkdir()
        (tmp_path / "quality" / name / "config.json").write_bytes(content)
    return tmp_path


def test_encoders_are_found_by_what_they_are(models: Path) -> None:
    assert files.listed(files.DUAL) == ["a-clip"]
    assert files.listed(files.IMAGE) == ["a-clip", "a-dino"]
    assert files.classifiers() == ["a-vit"]
    assert files.face_packs() == []
    assert files.folder("a-clip", "CLIP") == models / "quality/a-clip"


def test_what_is_missing_is_named_with_its_place(models: Path) -> None:
    with pytest.raises(MissingWeights, match=r"put a CLIP folder .* into models/quality"):
        files.folder("none", "CLIP")
    with pytest.raises(MissingWeights, match="another is not there"):
        files.folder("another", "CLIP")
    for elsewhere in ("../quality/a-clip", str(models / "quality/a-clip"), "a-clip/", ".", ""):
        with pytest.raises(MissingWeights, match="is not there"):
            files.folder(elsewhere, "CLIP")
    with pytest.raises(MissingWeights, match=r"models/quality/a-dino has no \.safetensors"):
        files.folder("a-dino", "DINOv2")
    with pytest.raises(MissingWeights, match=r"det_10g.onnx and w600k_r50.onnx .* models/insightface/models/buffalo_l"):
        files.face_pack("none")
