#!/usr/bin/env python3
"""Says whether a fleet, or one ComfyUI, can take work: one line, and exit status 0 or 1.

Needs nothing but Python, so that it runs inside any image:

    HEALTHCHECK CMD ["python3", "/ops/healthcheck.py", "http://127.0.0.1:8188"]

A fleet is asked for /readyz, a ComfyUI for /system_stats; which of them answers is found out by asking.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import urllib.error
import urllib.request
from typing import Any

DEFAULT_URL = "http://127.0.0.1:8200"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="check a comfyfleet or a ComfyUI; exit 0 when it can take work, else 1"
    )
    parser.add_argument("url", nargs="?", default=DEFAULT_URL, help=f"where it listens (default {DEFAULT_URL})")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds to wait for each answer (default 5)")
    options = parser.parse_args(arguments)
    url = options.url.rstrip("/")
    try:
        healthy, line = check(url, options.timeout)
    except (OSError, ValueError, http.client.HTTPException) as error:  # refused, timed out, no URL, no HTTP
        healthy, line = False, f"{url} does not answer as a comfyfleet or a ComfyUI: {error}"
    print(" ".join(line.split()))
    return 0 if healthy else 1


def check(url: str, timeout: float) -> tuple[bool, str]:
    """Whether what listens at `url` can take work, and a line about it. Raises when it cannot be found out."""
    status, answer = get(f"{url}/readyz", timeout)
    if status == 200 and answer.get("status") == "ready":
        return True, f"{url} is ready, with {answer.get('workers_ready', 0)} of {answer.get('workers', 0)} workers"
    if status != 404:  # which a ComfyUI says, as it has no such page
        error = answer.get("error")
        return False, f"{url} is not ready: {error.get('message') if isinstance(error, dict) else f'HTTP {status}'}"
    status, answer = get(f"{url}/system_stats", timeout)
    if status != 200 or not isinstance(answer.get("system"), dict):
        raise ValueError(f"HTTP {status} to /readyz and /system_stats")
    devices = ", ".join(describe(device) for device in answer.get("devices", []))
    return True, f"{url} is ComfyUI {answer['system'].get('comfyui_version', '')} on {devices}"


def get(url: str, timeout: float) -> tuple[int, dict[str, Any]]:
    """The status, and the JSON object in the body (empty when there is none)."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            status, body = response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            status, body = error.code, error.read()
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    return status, answer if isinstance(answer, dict) else {}


def describe(device: dict[str, Any]) -> str:
    free, total = device.get("vram_free", 0) / 2**30, device.get("vram_total", 0) / 2**30
    return f"{device.get('name', 'a device')} with {free:.1f} of {total:.1f} GiB free"


if __name__ == "__main__":
    sys.exit(main())
