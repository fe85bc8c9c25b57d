"""Files by the names that ComfyUI's clients know: uploaded, masked, viewed, and given to nodes."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from tests.contract.scenario import png
from tests.fixtures.comfyui import StartSim
from tests.fixtures.driving import node, picture
from tests.fixtures.whole import StartWhole
from tests.integration.native.clients import NativeClient, native_client


def color(content: bytes) -> tuple[str | None, str, object]:
    with Image.open(io.BytesIO(content)) as image:
        return image.format, image.mode, image.getpixel((0, 0))


async def loaded(client: NativeClient, name: str) -> bytes:
    """What a node makes of that input."""
    save = node("SaveImage", images=["1", 0], filename_prefix="copies/x")
    prompt_id = await client.submit({"1": node("LoadImage", image=name), "2": save})
    entry = await client.finish(prompt_id)
    [file] = entry["outputs"]["2"]["images"]
    assert file["subfolder"] == f"fleet/{prompt_id}/copies"
    status, content = await client.view(**file)
    assert status == 200
    return content


async def test_a_name_is_what_was_uploaded_last_under_it(whole: StartWhole, sim_comfyui: StartSim) -> None:
    fleet = await whole({"w": (await sim_comfyui()).url})
    async with native_client(fleet.client.url, "c") as client:
        await client.connect()
        assert await client.upload(png("#ff0000"), "a.png") == {"name": "a.png", "subfolder": "", "type": "input"}
        assert (await client.upload(png("#ff0000"), "a.png"))["name"] == "a.png"  # the same bytes
        assert (await client.upload(png("#00ff00"), "a.png"))["name"] == "a (1).png"
        assert (await client.upload(png("#00ff00"), "a.png"))["name"] == "a (1).png"
        assert (await client.upload(png("#0000ff"), "a.png", overwrite="true"))["name"] == "a.png"
        below = await client.upload(png("#ffff00"), "a.png", subfolder="deep/er")
        assert below == {"name": "a.png", "subfolder": "deep/er", "type": "input"}
        for name, wanted in (
            ("a.png", (0, 0, 255)), ("a (1).png", (0, 255, 0)), ("deep/er/a.png [input]", (255, 255, 0)),
        ):  # fmt: skip
            assert color(await loaded(client, name))[2] == wanted
        offered = (await client.get("/object_info/LoadImage"))["LoadImage"]["input"]["required"]["image"][0]
        assert {"a.png", "a (1).png", "deep/er/a.png"} <= set(offered)


async def test_what_a_job_made_is_an_input_of_the_next(whole: StartWhole, sim_comfyui: StartSim) -> None:
    fleet = await whole({"w": (await sim_comfyui()).url})
    async with native_client(fleet.client.url, "c") as client:
        await client.connect()
        made = (await client.finish(await client.submit(picture(0x00FF00))))["outputs"]["2"]["images"][0]
        again = await loaded(client, f"{made['subfolder']}/{made['filename']} [output]")
        assert color(again)[2] == (0, 255, 0)


async def test_a_mask_goes_onto_its_picture(whole: StartWhole, sim_comfyui: StartSim) -> None:
    fleet = await whole({"w": (await sim_comfyui()).url})
    async with native_client(fleet.client.url, "c") as client:
        await client.upload(png("#102030"), "p.png")
        reference = '{"filename": "p.png", "type": "input", "subfolder": ""}'
        mask = png("#00000040", mode="RGBA")
        masked = await client.upload(mask, "clipspace-mask.png", subfolder="clipspace", original_ref=reference)
        assert masked == {"name": "clipspace-mask.png", "subfolder": "clipspace", "type": "input"}
        _, content = await client.view(filename="clipspace-mask.png", subfolder="clipspace", type="input")
        assert color(content) == ("PNG", "RGBA", (0x10, 0x20, 0x30, 0x40))
        _, rgb = await client.view(filename="clipspace-mask.png", subfolder="clipspace", type="input", channel="rgb")
        assert color(rgb) == ("PNG", "RGB", (0x10, 0x20, 0x30))
        _, alpha = await client.view(filename="clipspace-mask.png", subfolder="clipspace", type="input", channel="a")
        assert color(alpha) == ("PNG", "RGBA", (0, 0, 0, 0x40))


@pytest.mark.parametrize(("wanted", "made"), [("webp;90", "WEBP"), ("jpeg", "JPEG"), ("gif", "WEBP")])
async def test_a_view_in_another_format(whole: StartWhole, sim_comfyui: StartSim, wanted: str, made: str) -> None:
    fleet = await whole({"w": (await sim_comfyui()).url})
    async with native_client(fleet.client.url, "c") as client:
        await client.upload(png("#102030"), "p.png")
        _, content = await client.view(filename="p.png", type="input", preview=wanted)
        assert color(content)[0] == made


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"filename": "absent.png"}, 404),
        ({"filename": "absent.png", "subfolder": "fleet/0197-none/x"}, 404),
        ({"filename": "../x.png"}, 400),
        ({"filename": "/etc/passwd"}, 400),
        ({"filename": "x.png", "subfolder": "../.."}, 403),
        ({"filename": "x.png", "type": "secret"}, 400),
    ],
)
async def test_views_of_what_is_not_there(
    whole: StartWhole, sim_comfyui: StartSim, query: dict[str, str], status: int
) -> None:
    fleet = await whole({})
    async with native_client(fleet.client.url, "c") as client:
        assert (await client.view(**query))[0] == status
