"""What workers offer, as the scheduler is told it, from a real Redis."""

from __future__ import annotations

from orchestrator.controller.offers import ModelContents, Offers
from orchestrator.domain.needs import Content, ModelRef
from orchestrator.domain.worker import WorkerInfo
from orchestrator.scheduling.models import Offer
from orchestrator.store.redis import RedisStore

A, B = ModelRef("checkpoints", "a.safetensors"), ModelRef("checkpoints", "b.safetensors")


async def test_workers_that_lack_the_same_models_share_an_offer_whatever_else_is_known_of_them(
    store: RedisStore,
) -> None:
    offers, contents = Offers(store), ModelContents(store)

    async def offer(worker: str, a: Content, b: Content) -> Offer:
        info = WorkerInfo(id=worker, url=f"http://{worker}", pool="default", agent="a", catalog="c" * 8)
        await store.inspected(info, (await store.register(info)).epoch, b"{}", {A: a, B: b})
        found = await offers.of(info.catalog, await contents.of((await store.worker(worker)).models))
        assert found is not None
        return found

    before = await offer("w", Content(7), Content(8, remote=True))
    assert before.remote == {B}
    assert await offer("w", Content(7, "d" * 64), Content(8, remote=True)) is before, "a digest was read"
    assert await offer("other", Content(9), Content(8, remote=True)) is before
    faulty = await offer("w", Content(7), Content(8, remote=True, fault="why"))
    assert (faulty.remote, faulty.faults) == (frozenset(), {B: "why"})
    assert await offer("w", Content(7), Content(8)) not in (before, faulty)
