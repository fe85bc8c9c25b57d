"""A ComfyUI stand-in over real sockets: the same routes, messages and errors, pictures by Pillow, models by arithmetic.

It exists so that everything above a worker can be tested, demonstrated and measured without a GPU, a model or torch.
Transcripts recorded from real ComfyUIs keep it honest (tests/contract).
"""

from orchestrator.simulator.comfyui.config import SimConfig
from orchestrator.simulator.comfyui.server import RunningSim, SimComfyUI

__all__ = ["RunningSim", "SimComfyUI", "SimConfig"]
