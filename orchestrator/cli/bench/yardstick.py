"""The official comfy-api-proxy in front of one ComfyUI: what the Comfy API v2 costs where it is served by others.

`python -m orchestrator.cli.bench.yardstick COMFYUI` prints `ready URL` and serves until it is told to end.
"""

from __future__ import annotations

import asyncio
import sys
from importlib.util import find_spec

from aiohttp import web

from orchestrator.simulator.comfyui.main import until_told_to_end


def installed() -> bool:
    """It is a tool of development, and no part of comfyfleet."""
    return find_spec("comfy_api_proxy") is not None


async def _serve(comfyui: str) -> None:
    from comfy_api_proxy.app import make_app

    runner = web.AppRunner(make_app(comfyui), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        sys.stdout.write(f"ready http://{host}:{port}\n")
        sys.stdout.flush()
        await until_told_to_end(exit_with_parent=True)
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
