"""The example graphs of the node pack in ComfyUI's own editor: they open whole, and run."""

from __future__ import annotations

import json
from importlib.resources import as_file, files
from pathlib import Path
from shutil import copy

import pytest

from tests.fixtures.browser import Page, browsing
from tests.fixtures.real_comfyui import RUN_S, StartRealComfyUI, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PACK = Path(__file__).parents[2] / "comfy_nodes"
EXAMPLES = sorted(path.stem for path in (PACK / "example_workflows").glob("*.json"))
READY = "!!(window.app?.vueAppReady && window.app.graph && Object.keys(LiteGraph.registered_node_types).length > 50)"
OPEN = """
fetch('/api/workflow_templates/comfyfleet/' + encodeURIComponent(NAME + '.json'))
  .then(answer => answer.json()).then(graph => window.app.loadGraphData(graph)).then(() => true)
"""
UNKNOWN = "window.app.graph.nodes.map(node => node.type).filter(type => !(type in LiteGraph.registered_node_types))"
SHOWN = """
window.app.graph.nodes.filter(node => node.type === 'PreviewAny')
  .flatMap(node => node.widgets.map(widget => String(widget.value))).find(text => text.includes('sharpness: ')) ?? ''
"""


async def opened(page: Page, name: str) -> None:
    await page.until(READY)
    assert await page.evaluate(OPEN.replace("NAME", json.dumps(name)))


async def test_the_examples_open_in_the_editor_and_run(real_comfyui: StartRealComfyUI) -> None:
    comfyui = await real_comfyui(packs={"comfyfleet": PACK})
    with as_file(files("skimage.data") / "astronaut.png") as photograph:
        copy(photograph, comfyui.directory / "input" / "example.png")
    await comfyui.post("/settings", {"Comfy.TutorialCompleted": True})  # or the list of templates lies on the graph
    assert sorted((await comfyui.get("/workflow_templates"))["comfyfleet"]) == EXAMPLES
    async with browsing(comfyui.url) as page:
        for runs, name in enumerate(EXAMPLES, 1):
            await opened(page, name)
            drawn = json.loads((PACK / "example_workflows" / f"{name}.json").read_text("utf-8"))
            assert await page.evaluate("window.app.graph.nodes.length") == len(drawn["nodes"])
            assert await page.evaluate(UNKNOWN) == []
            await page.evaluate("window.app.queuePrompt(0).then(() => true)")

            async def ended(count: int = runs) -> bool:
                history = await comfyui.get("/history")
                return len(history) == count and all(run["status"]["completed"] for run in history.values())

            await eventually(ended, RUN_S, f"{name} to run\n{comfyui.log[-2000:]}")
            assert "artifacts: " in await page.until(SHOWN)
