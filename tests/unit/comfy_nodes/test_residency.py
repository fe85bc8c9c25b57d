from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from comfy_nodes.provenance import File
from comfy_nodes.residency import Held, entries, unnamed

CHECKPOINT = File("checkpoints", "sd/a.safetensors", "/models/checkpoints/sd/a.safetensors")
LORA = File("loras", "b.safetensors", "/models/loras/b.safetensors")
CLIPS = tuple(File("text_encoders", name, f"/models/{name}") for name in ("l.safetensors", "g.safetensors"))
ELSEWHERE = File(None, "c.safetensors", "/elsewhere/c.safetensors")


def test_a_loaded_model_says_where_it_lies_and_what_patches_it() -> None:
    held = Held((CHECKPOINT,), "diffusion_model", 100, loaded_bytes=60, device="cuda:0", patches=(LORA,))
    assert entries([held], {CHECKPOINT.path: 90}) == [
        {
            "folder": "checkpoints",
            "name": "sd/a.safetensors",
            "bytes": 100,
            "file_bytes": 90,
            "loaded_bytes": 60,
            "device": "cuda:0",
            "kind": "diffusion_model",
            "patches": [{"folder": "loras", "name": "b.safetensors"}],
        }
    ]


def test_what_the_cache_keeps_is_as_large_as_its_file_where_nothing_else_is_known() -> None:
    held = [Held((LORA,), None, None), Held((CHECKPOINT,), "vae", None)]
    assert entries(held, {LORA.path: 5}) == [
        {"folder": "loras", "name": "b.safetensors", "bytes": 5, "file_bytes": 5, "kind": "lora"},
        {"folder": "checkpoints", "name": "sd/a.safetensors", "bytes": None, "kind": "vae"},
    ]


def test_a_file_outside_of_the_model_folders_is_told_by_its_path() -> None:
    [entry] = entries([Held((ELSEWHERE,), None, 1)], {})
    expected = {"folder": None, "name": "c.safetensors", "bytes": 1, "path": ELSEWHERE.path, "kind": "other"}
    assert entry == expected


def test_a_model_of_an_unknown_file_counts_with_its_bytes() -> None:
    held = [Held((), "vae", 3, loaded_bytes=3, device="cpu"), Held((LORA,), None, 1)]
    assert entries(held, {})[0] == {
        "folder": None,
        "name": None,
        "bytes": 3,
        "loaded_bytes": 3,
        "device": "cpu",
        "kind": "vae",
    }
    assert unnamed(held) == 1


@given(total=st.integers(0, 10**12), sizes=st.lists(st.integers(0, 10**11), min_size=2, max_size=2))
def test_a_model_of_several_files_is_shared_out_among_them(total: int, sizes: list[int]) -> None:
    on_disk = {file.path: size for file, size in zip(CLIPS, sizes, strict=True)}
    shared = entries([Held(CLIPS, "text_encoder", total, loaded_bytes=total // 2, device="cpu")], on_disk)
    assert [entry["name"] for entry in shared] == ["l.safetensors", "g.safetensors"]
    assert sum(entry["bytes"] for entry in shared) == total
    assert sum(entry["loaded_bytes"] for entry in shared) == total // 2
    assert all(entry["bytes"] >= 0 for entry in shared)
