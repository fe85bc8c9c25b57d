"""Face packs as InsightFace lays them out, read by onnxruntime: a detector that finds what is white, and a recogniser
that looks at where its colours are."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from comfy_nodes.encoders import files
from comfy_nodes.internals.weights import register_folder
from comfy_nodes.measures import Measured
from comfy_nodes.nodes.encoded import FleetFaceFidelity
from comfy_nodes.scores import Failed

onnx = pytest.importorskip("onnx", reason="face packs are made with onnx: pip install onnx onnxruntime")
pytest.importorskip("onnxruntime", reason="face packs are read with onnxruntime: pip install onnxruntime")

SIDE = 640
POINTS = [-0.5, -0.5, 0.5, -0.5, 0, 0, -0.4, 0.5, 0.4, 0.5]  # eyes, nose and corners of the mouth


def detector() -> onnx.ModelProto:
    """SCRFD's inputs and outputs: a score is how white a cell of 32 px is, for each of two anchors."""
    nodes, constants, outputs = [], [], []
    for stride in (8, 16, 32):
        cells = (SIDE // stride) ** 2 * 2
        whiteness = np.full((2, 3, stride, stride), 1 / (3 * stride * stride) if stride == 32 else 0, np.float32)
        constants.append(onnx.numpy_helper.from_array(whiteness, f"white{stride}"))
        nodes += [
            onnx.helper.make_node("Conv", ["input.1", f"white{stride}"], [f"map{stride}"], strides=[stride, stride]),
            onnx.helper.make_node("Transpose", [f"map{stride}"], [f"last{stride}"], perm=[0, 2, 3, 1]),
            onnx.helper.make_node("Reshape", [f"last{stride}", "one"], [f"scores{stride}"]),
        ]
        for name, row in (("boxes", [1.0] * 4), ("points", POINTS)):
            constants.append(onnx.numpy_helper.from_array(np.tile(np.float32(row), (cells, 1)), f"c{name}{stride}"))
            nodes.append(onnx.helper.make_node("Identity", [f"c{name}{stride}"], [f"{name}{stride}"]))
    constants.append(onnx.numpy_helper.from_array(np.array([-1, 1]), "one"))
    for name, width in (("scores", 1), ("boxes", 4), ("points", 10)):
        outputs += [tensor(f"{name}{stride}", ["n", width]) for stride in (8, 16, 32)]
    return model(nodes, [tensor("input.1", [1, 3, SIDE, SIDE])], outputs, constants)


def recogniser() -> onnx.ModelProto:
    """ArcFace's inputs and outputs: the colours of 4 x 4 parts of a face."""
    nodes = [
        onnx.helper.make_node("AveragePool", ["input.1"], ["parts"], kernel_shape=[28, 28], strides=[28, 28]),
        onnx.helper.make_node("Flatten", ["parts"], ["vector"]),
    ]
    return model(nodes, [tensor("input.1", ["n", 3, 112, 112])], [tensor("vector", ["n", 48])], [])


def tensor(name: str, shape: list[int | str]) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)


def model(nodes: list, inputs: list, outputs: list, constants: list) -> onnx.ModelProto:
    graph = onnx.helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """models/insightface/models/buffalo_l of a ComfyUI."""
    paths = SimpleNamespace(models_dir=str(tmp_path), folder_names_and_paths={})
    monkeypatch.setitem(sys.modules, "folder_paths", paths)
    register_folder(files.FACES)
    folder = tmp_path / "insightface" / "models" / "buffalo_l"
    folder.mkdir(parents=True)
    onnx.save(detector(), folder / "det_10g.onnx")
    onnx.save(recogniser(), folder / "w600k_r50.onnx")
    return folder


def face(at: int, color: tuple[float, float, float]) -> np.ndarray:
    """A white cell, at whose corner the detector finds a face, and beside it a colour, which the recogniser sees."""
    picture = np.zeros((1, SIDE, SIDE, 3), np.float32)
    picture[0, at : at + 32, at : at + 32] = 1
    picture[0, at - 32 : at, at - 32 : at] = color
    return picture


def judged(images: np.ndarray, reference: np.ndarray) -> list[Measured | Failed]:
    _, [score] = FleetFaceFidelity().score(images, reference=reference)
    return list(score.images)


def test_a_face_is_found_again_elsewhere_and_another_is_not(pack: Path) -> None:
    red, blue = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
    images = np.concatenate([face(96, red), face(320, red), face(320, blue), np.zeros_like(face(0, red))])
    same, elsewhere, other, none = judged(images, face(96, red))
    assert isinstance(same, Measured)
    assert isinstance(elsewhere, Measured)
    assert isinstance(other, Measured)
    assert same.raw == pytest.approx(1, abs=1e-5)
    assert elsewhere.raw == pytest.approx(1, abs=0.02)
    assert same.details["faces"] == 1
    assert other.raw is not None
    assert other.raw < 0.9
    assert none == Measured(0.0, None, "there is no face in the image", {"faces": 0})


def test_what_is_wrong_with_a_pack_is_told(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = face(96, (1, 1, 1))
    (pack / "w600k_r50.onnx").write_bytes(b"half a download")
    [failed] = judged(images, images)
    assert isinstance(failed, Failed)
    assert "buffalo_l/w600k_r50.onnx cannot be read: put it there again" in failed.reason
    (pack / "w600k_r50.onnx").unlink()
    [failed] = judged(images, images)
    assert isinstance(failed, Failed)
    assert "buffalo_l has none of w600k_r50.onnx, glintr100.onnx" in failed.reason
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    [failed] = judged(images, images)
    assert isinstance(failed, Failed)
    assert "run pip install onnxruntime in ComfyUI's Python" in failed.reason
