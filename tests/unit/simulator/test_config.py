from __future__ import annotations

import pytest

from orchestrator.simulator.comfyui import SimConfig


def test_an_unknown_version_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"ComfyUI 9\.9: choose one of 0\.33\.0, 0\.3\.64"):
        _ = SimConfig(version="9.9").profile
