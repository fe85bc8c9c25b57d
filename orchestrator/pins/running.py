"""Looking at a running ComfyUI, through the fleet's node pack in it."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable, Collection
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode

import orjson

from orchestrator.errors import Busy, InvalidRequest
from orchestrator.pins import inventory
from orchestrator.pins.observed import Observed

RETRY_S = 10.0
TIMEOUT_S = 180.0
"""For one answer: the first may look at thousands of files on a slow disk."""

STALLED_S = 1800.0
"""Without a digest more, after which we stop waiting: the largest models take minutes."""

MAX_BYTES = 64 << 20
_AGAIN_S = 1.0
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a worker is near, never behind a proxy


def observe(url: str, wanted: Collection[str] | None, waiting: Callable[[int], None]) -> Observed:
    """Asks for the inventory, until it has the digests of the models `wanted` (None: of all); `waiting` is told of how
    many it has not. Raises InvalidRequest("no_node_pack", "invalid_inventory"), Busy("comfyui_unreachable",
    "hashing_stalled")."""
    query = urlencode([("sha256", "1")] if wanted is None else [("hash", name) for name in sorted(wanted)])
    left, since = -1, time.monotonic()
    while True:
        document = _get(f"{url.rstrip('/')}/fleet/inventory?{query}")
        observed = inventory.parse(document)
        missing = inventory.unhashed(document, wanted)
        if not missing:
            return observed
        if len(missing) != left:
            left, since = len(missing), time.monotonic()
            waiting(left)
        if time.monotonic() - since > STALLED_S:
            message = f"{url} has not read model {missing[0]} in {STALLED_S:.0f} s: look at its disk and its log"
            raise Busy("hashing_stalled", message, RETRY_S)
        time.sleep(_AGAIN_S)


def _get(url: str) -> Any:
    try:
        with _OPENER.open(url, timeout=TIMEOUT_S) as answer:
            return orjson.loads(answer.read(MAX_BYTES))
    except HTTPError as error:
        error.close()
        raise InvalidRequest(
            "no_node_pack",
            f"{url} answers {error.code}: put comfyfleet's node pack (comfy_nodes) into that ComfyUI's custom_nodes "
            f"and start it again",
        ) from None
    except (OSError, ValueError) as error:
        message = f"{url} does not answer ({error}): check that ComfyUI runs, and that this is where"
        raise Busy("comfyui_unreachable", message, RETRY_S) from None
