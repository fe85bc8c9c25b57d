"""The editor: a graph that is drawn in it is executed by the fleet, and what it keeps for its users is theirs."""

from __future__ import annotations

import json

import pytest

from orchestrator.api.native.editor import frontend
from tests.fixtures.browser import browsing
from tests.fixtures.comfyui import StartSim
from tests.fixtures.driving import node
from tests.fixtures.whole import StartWhole
from tests.integration.native.clients import native_client

DRAWN = {
    "1": node("EmptyImage", width=256, height=128, batch_size=1, color=0x336699),
    "2": node("SaveImage", images=["1", 0], filename_prefix="drawn"),
}
SHOWN = "app.graph._nodes.flatMap(node => node.imgs ?? []).find(image => image.naturalWidth)?.src"


@pytest.mark.skipif(frontend() is None, reason="the editor is not installed: pip install 'comfyfleet[editor]'")
async def test_a_graph_that_is_drawn_is_executed(whole: StartWhole, sim_comfyui: StartSim) -> None:
    fleet = await whole({"w": (await sim_comfyui()).url})
    async with browsing(f"{fleet.client.url}/editor/") as page:
        await page.until("Boolean(window.app?.graph && window.app.extensionManager)")
        await page.until("Boolean(document.querySelector('[data-testid=queue-button]'))")
        await page.evaluate(f"app.loadApiJson({json.dumps(DRAWN)}, 'drawn.json')")
        await page.until("app.graph._nodes.length === 2")
        await page.evaluate("document.querySelector('[data-testid=queue-button]').click()")
        source = await page.until(SHOWN)
    [job] = (await fleet.client.get("/v1/jobs"))["jobs"]
    assert job["status"] == "succeeded"
    assert f"filename=drawn_00001_.png&subfolder=fleet%2F{job['id']}" in source


async def test_without_the_package_it_says_how_to_install_it(
    whole: StartWhole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.api.native.editor.find_spec", lambda name: None)
    fleet = await whole({})
    async with native_client(fleet.client.url, "c") as client, client.http.get("/editor/") as answer:
        assert answer.status == 404
        assert "comfyfleet[editor]" in (await answer.json())["error"]["message"]


async def test_what_it_keeps_for_its_users(whole: StartWhole) -> None:
    fleet = await whole({})
    async with native_client(fleet.client.url, "c") as client:
        await client.post("/api/settings", {"Comfy.Locale": "de"})
        await client.post("/api/settings/Comfy.ColorPalette", {"id": "dark"})
        assert (await client.get("/api/settings"))["Comfy.Locale"] == "de"
        assert await client.post("/api/userdata/workflows%2Fa.json", {"nodes": []}) == "workflows/a.json"
        assert await client.get("/editor/api/userdata?dir=workflows&split=true") == [["a.json", "a.json"]]
        assert await client.post("/api/userdata/workflows%2Fa.json/move/workflows%2Fb.json") == "workflows/b.json"
        async with client.http.post("/api/userdata/workflows%2Fb.json?overwrite=false", data=b"{}") as answer:
            assert answer.status == 409
        async with client.http.get("/api/userdata/workflows%2Fb.json") as answer:
            assert await answer.json(content_type=None) == {"nodes": []}
            assert answer.headers["Content-Disposition"] == "attachment"
        async with client.http.get("/api/userdata?dir=workflows", headers={"Comfy-User": "other"}) as answer:
            assert answer.status == 404
        for name in ("..%2F..%2Fx", "%2Fetc%2Fpasswd", "..%2Fdefault2%2Fx"):
            async with client.http.get(f"/api/userdata/{name}") as answer:
                assert answer.status == 400
        async with client.http.delete("/api/userdata/workflows%2Fb.json") as answer:
            assert answer.status == 204
