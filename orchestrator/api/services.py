"""What the API works with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.controller.catalogs import Catalogs
from orchestrator.controller.events import EventHub
from orchestrator.controller.intake import Intake
from orchestrator.controller.node_packs import NodePacks
from orchestrator.controller.registry import Registry
from orchestrator.delivery.storage import Storage
from orchestrator.store.port import Store


@dataclass(frozen=True, slots=True)
class Services:
    """The controller's parts that requests are carried out by."""

    store: Store
    registry: Registry
    intake: Intake
    catalogs: Catalogs
    events: EventHub
    storage: Storage
    node_packs: NodePacks
    users: Path  # the folder of what the editor keeps for its users
