"""Days of requests that are made up, for whoever has no trace: as skewed, bursty and repetitive as those of GenTD26.

What is copied from that trace is its shape: how popular models are, how often a tenant stays with one, how requests
crowd, how long they take. Beside it stand LoRAs and ControlNets as the same publication counts them.
"""

from __future__ import annotations

import random
from itertools import accumulate
from math import log

from orchestrator.simulator.fleet.workload import DAY_S, Row

DAYS = 14
SESSIONS = 110  # a day, on average; of about nine requests each
BURSTS = 3  # moments in a day around which sessions crowd
BURST_SHARE = 0.55  # of sessions
BURST_SPREAD_S = 900.0
BUSY_HOURS = (1, 1, 1, 1, 1, 1, 2, 3, 4, 6, 7, 6, 5, 6, 7, 7, 6, 6, 6, 7, 8, 7, 4, 2)  # sessions by the hour
SESSION_MEDIAN, SESSION_SPREAD = 4.0, 1.2  # requests in a session, lognormal
GAP_S = 35.0  # between the requests of a session, on average
STAYS = 0.72  # a tenant's next request asks for the same model
EXEC_MEDIAN_S, EXEC_SPREAD, EXEC_NOISE = 28.0, 0.58, 0.3  # of models and steps; within them
STEPS = ((30, 12), (20, 2), (40, 2), (50, 1))
IMAGES = ((1, 6), (4, 2), (8, 1), (2, 1))
LORA_SHARE, CONTROLNET_SHARE = 0.22, 0.12  # of requests
# (models, share of all requests): the first, the next four, and so on.
POPULARITY = ((1, 0.307), (4, 0.398), (5, 0.162), (10, 0.073), (66, 0.060))


def generate(seed: int) -> list[Row]:
    """DAYS days of requests. Same seed, same requests."""
    rng = random.Random(f"{seed}/generated")
    rows: list[Row] = []
    for day in range(DAYS):
        bursts = [rng.uniform(8, 23) * 3600 for _ in range(BURSTS)]
        for session in range(round(SESSIONS * rng.uniform(0.5, 1.5))):
            rows += _session(f"day-{day:02}", f"t{session:03}", bursts, rng)
    return rows


def _session(day: str, tenant: str, bursts: list[float], rng: random.Random) -> list[Row]:
    """One tenant's requests: one after the other, mostly of one model."""
    second = _begins(bursts, rng)
    kind = rng.choices(("TXT_2_IMG", "IMG_2_IMG"), (9, 1))[0]
    steps, images = _pick(STEPS, rng), _pick(IMAGES, rng)
    model, lora, control = _model(rng), rng.random() < LORA_SHARE, rng.random() < CONTROLNET_SHARE
    rows: list[Row] = []
    for _ in range(max(1, round(rng.lognormvariate(log(SESSION_MEDIAN), SESSION_SPREAD)))):
        if rng.random() > STAYS:
            model = _model(rng)
        if 0 <= second < DAY_S:
            exec_s = _typical_s(model, steps) * rng.lognormvariate(0, EXEC_NOISE)
            rows.append(Row(day, second, tenant, kind, f"base-{model:02}", steps, images, int(lora), exec_s, control))
        second += rng.expovariate(1 / GAP_S)
    return rows


def _begins(bursts: list[float], rng: random.Random) -> float:
    if rng.random() < BURST_SHARE:
        return rng.gauss(rng.choice(bursts), BURST_SPREAD_S)
    return (rng.choices(range(24), BUSY_HOURS)[0] + rng.random()) * 3600


def _pick(choices: tuple[tuple[int, int], ...], rng: random.Random) -> int:
    return rng.choices([value for value, _ in choices], [weight for _, weight in choices])[0]


def _model(rng: random.Random) -> int:
    """Rank of a model, by its popularity."""
    return rng.choices(range(len(_CUMULATIVE)), cum_weights=_CUMULATIVE)[0]


def _typical_s(model: int, steps: int) -> float:
    """What a model takes for so many steps: always the same, and another for each."""
    return EXEC_MEDIAN_S * random.Random(f"typical/{model}/{steps}").lognormvariate(0, EXEC_SPREAD)


_CUMULATIVE = list(accumulate(share / count for count, share in POPULARITY for _ in range(count)))
