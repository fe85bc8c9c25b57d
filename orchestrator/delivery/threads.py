"""Threads: where blocking calls go, a bounded number at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Threads:
    """A pool of its own, so that slow storage does not hold up what else uses threads."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="storage")

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The call's result. It cannot be stopped half-way: who is cancelled goes on only when it has ended, so that
        nothing it works on is taken from under it."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, partial(call, *args, **kwargs))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            future.exception()  # taken, as nobody is left to be told
            raise

    async def close(self) -> None:
        await asyncio.to_thread(self._pool.shutdown)
