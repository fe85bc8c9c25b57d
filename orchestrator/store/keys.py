"""The names of all Redis keys, who owns them, and when they go. The Lua files build the same names from the prefix.

| key                     | type   | holds                                  | goes                                     |
|-------------------------|--------|----------------------------------------|------------------------------------------|
| job:ID                  | hash   | spec, graph, status, runs, outputs;    | reaper: `forget`, after the retention    |
|                         |        | `shown`, `sealed`: until it ends       |                                          |
| job:ID:events           | stream | what watchers are told; capped         | TTL, and `forget`                        |
| job:ID:comfy:events     | stream | what its ComfyUI says; capped          | TTL, and `forget`                        |
| run:ID                  | hash   | one attempt                            | with its job                             |
| jobs, jobs:status:S,    | zset   | job ids by creation                    | `forget` removes the member              |
| jobs:workflow:W         |        |                                        |                                          |
| jobs:client:C,          | zset   | the same, of who posted to ComfyUI's   | `forget`, or who posted them             |
| jobs:peer:ADDRESS,      |        | own API                                |                                          |
| jobs:everyone           |        |                                        |                                          |
| active:OWNER            | zset   | those of each that have not ended      | when the job ends                        |
| client:C                | hash   | job id -> last event that C was sent   | when C was sent the last; TTL            |
| ended, deadlines        | zset   | job ids by end, by deadline            | `forget`; when the job ends              |
| count:ended             | hash   | how many ever, by "WORKFLOW STATUS"    | one per fleet                            |
| unjudged, reviews       | zset   | jobs whose gate has to be asked; those | `conclude`; when the job ends            |
|                         |        | that wait for a person, by due time    |                                          |
| judge                   | stream | hints to the judge; capped             | capped, one per fleet                    |
| queue:POOL PRIORITY     | zset   | queued run ids by arrival of their job | assign, cancel, expire, refuse           |
| queued, queued:total    | hash   | depth by "POOL PRIORITY"; sum          | counters of the queue                    |
| idem:KEY                | string | "FINGERPRINT JOB"                      | TTL                                      |
| feed, feed:seq          | stream | changes for the dispatcher; capped     | capped, one per fleet                    |
| workers                 | zset   | worker ids by lease                    | reaper, a day after the lease ran out    |
| worker:ID               | hash   | info, state, epoch, residency          | with its entry in `workers`              |
| worker:ID:events        | stream | its states and why; capped             | with its entry in `workers`              |
| worker:ID:runs          | zset   | run ids it has, in order of assignment | when they end                            |
| worker:ID:warmup        | hash   | what it is to warm up with             | TTL; when it is over, or it starts anew  |
| mail:AGENT              | stream | hints to an agent; capped              | TTL                                      |
| leader                  | string | the leading controller                 | TTL                                      |
| questions               | stream | runs that somebody asks about; capped  | capped, one per fleet                    |
| answer:QUESTION         | list   | what the leader says of one            | when it is read; TTL                     |
| learned                 | string | what the dispatcher learned            | one per fleet                            |
| catalog:D, models:D     | string | an object_info; what model files are   | TTL, renewed by the workers that have it |
| ledger:HOUR             | hash   | who spent what -> ms                   | TTL                                      |
| profile:WORKFLOW@V      | list   | what its last runs took, node by node  | capped; TTL                              |
| ledger:total            | hash   | the same since ever, by workflow, pool | one per fleet                            |
|                         |        | and kind                               |                                          |
| workflows               | hash   | name -> active version                 | kept: registered versions are immutable  |
| workflow:NAME[:digests] | hash   | version -> document; digest -> version | kept                                     |
| assets                  | zset   | asset ids by last use                  | reaper, after the retention              |
| inputs                  | hash   | path in ComfyUI's folders -> asset id  | kept: they are small                     |
| asset:ID                | hash   | document, state                        | with its entry in `assets`               |

Channel watch:TOPIC carries live events: of a job (its id), of its ComfyUI (ID:comfy), of a client (client:C).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """Key names under a prefix that ends in a colon."""

    prefix: str

    def job(self, job_id: str) -> str:
        return f"{self.prefix}job:{job_id}"

    def events(self, job_id: str) -> str:
        return f"{self.prefix}job:{job_id}:events"

    def watch(self, job_id: str) -> str:
        return f"{self.prefix}watch:{job_id}"

    def run(self, run_id: str) -> str:
        return f"{self.prefix}run:{run_id}"

    def active(self, owner: str) -> str:
        return f"{self.prefix}active:{owner}"

    def client(self, client_id: str) -> str:
        return f"{self.prefix}client:{client_id}"

    def jobs(self, status: str | None = None, workflow: str | None = None, owner: str | None = None) -> str:
        if owner:
            return f"{self.prefix}jobs:{owner}"
        if status:
            return f"{self.prefix}jobs:status:{status}"
        return f"{self.prefix}jobs:workflow:{workflow}" if workflow else f"{self.prefix}jobs"

    def queue(self, pool: str, priority: str) -> str:
        return f"{self.prefix}queue:{pool} {priority}"

    def worker(self, worker_id: str) -> str:
        return f"{self.prefix}worker:{worker_id}"

    def worker_runs(self, worker_id: str) -> str:
        return f"{self.prefix}worker:{worker_id}:runs"

    def worker_events(self, worker_id: str) -> str:
        return f"{self.prefix}worker:{worker_id}:events"

    def worker_warmup(self, worker_id: str) -> str:
        return f"{self.prefix}worker:{worker_id}:warmup"

    def mail(self, agent: str) -> str:
        return f"{self.prefix}mail:{agent}"

    def answer(self, question: str) -> str:
        return f"{self.prefix}answer:{question}"

    def ledger(self, hour: str) -> str:
        """`hour`: hours since 1970, or "total"."""
        return f"{self.prefix}ledger:{hour}"

    def profile(self, profile: str) -> str:
        return f"{self.prefix}profile:{profile}"

    def catalog(self, digest: str) -> str:
        return f"{self.prefix}catalog:{digest}"

    def models(self, digest: str) -> str:
        return f"{self.prefix}models:{digest}"

    def workflow(self, name: str) -> str:
        return f"{self.prefix}workflow:{name}"

    def asset(self, asset_id: str) -> str:
        return f"{self.prefix}asset:{asset_id}"

    def idempotency(self, key: str) -> str:
        return f"{self.prefix}idem:{key}"

    def single(self, name: str) -> str:
        """A key of which a fleet has one: queued, feed, workers, leader, learned, workflows, assets, ended."""
        return self.prefix + name
