"""The nodes of the pack: thin shells around `measures`, in category fleet/quality."""

from __future__ import annotations

from typing import Any

from ..encoders.files import FACES, FOLDER
from ..internals.weights import register_folder
from .encoded import (
    FleetExpression,
    FleetFaceFidelity,
    FleetPromptAlignment,
    FleetSafety,
    FleetTextLegibility,
)
from .garment import FleetGarmentAccuracy
from .measured import (
    FleetArtifacts,
    FleetBackgroundConsistency,
    FleetBrandColor,
    FleetComposition,
    FleetReferenceSimilarity,
    FleetSharpness,
)
from .report import FleetGate, FleetReport

NODES: dict[str, Any] = {
    "FleetSharpness": (FleetSharpness, "Score Sharpness"),
    "FleetArtifacts": (FleetArtifacts, "Score Artifacts"),
    "FleetComposition": (FleetComposition, "Score Composition"),
    "FleetBrandColor": (FleetBrandColor, "Score Brand Color"),
    "FleetReferenceSimilarity": (FleetReferenceSimilarity, "Score Reference Similarity"),
    "FleetBackgroundConsistency": (FleetBackgroundConsistency, "Score Background Consistency"),
    "FleetGarmentAccuracy": (FleetGarmentAccuracy, "Score Garment Accuracy"),
    "FleetPromptAlignment": (FleetPromptAlignment, "Score Prompt Alignment"),
    "FleetFaceFidelity": (FleetFaceFidelity, "Score Face Fidelity"),
    "FleetExpression": (FleetExpression, "Score Expression"),
    "FleetSafety": (FleetSafety, "Score Safety"),
    "FleetTextLegibility": (FleetTextLegibility, "Score Text Legibility"),
    "FleetReport": (FleetReport, "Score Report"),
    "FleetGate": (FleetGate, "Score Gate"),
}
NODE_CLASS_MAPPINGS: dict[str, Any] = {name: node for name, (node, _) in NODES.items()}
NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = {name: title for name, (_, title) in NODES.items()}

for folder in (FOLDER, FACES):
    register_folder(folder)
