"""`jobs`, `job`, `cancel` and `explain`: what a fleet has, does, and why."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from orchestrator.cli.client import ask
from orchestrator.cli.console import ago, dollars, emit_json, emit_table, out, seconds, size, status_text
from orchestrator.cli.options import DEFAULT_URL, AsJson, Url

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]


def list_jobs(
    status: Annotated[str | None, typer.Option(help="Only jobs in this status.")] = None,
    workflow: Annotated[str | None, typer.Option(help="Only jobs of this workflow.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many, newest first.")] = 20,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    page = ask(url, "GET", "/v1/jobs", status=status, workflow=workflow, limit=limit)
    if as_json:
        emit_json(page)
        return
    emit_table(("job", "status", "workflow", "worker", "created", "seconds"), map(_row, page["jobs"]), empty="no jobs")


def show_job(job_id: JobId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show one job: status, timings, runs and outputs."""
    job = ask(url, "GET", f"/v1/jobs/{job_id}")
    if as_json:
        emit_json(job)
    else:
        _print_job(job)


def cancel(job_id: JobId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Stop a job. One that has ended is left as it is."""
    job = ask(url, "POST", f"/v1/jobs/{job_id}/cancel")
    if as_json:
        emit_json(job)
    else:
        out.print(f"job {job['id']}: {job['status']}")


def explain(job_id: JobId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Say why a job's runs went to the workers they went to, and what spoke against the others."""
    explanation = ask(url, "GET", f"/v1/jobs/{job_id}/explain")
    if as_json:
        emit_json(explanation)
    else:
        _print_explanation(explanation)


def _row(job: dict[str, Any]) -> tuple[Any, ...]:
    return (
        job["id"], status_text(job["status"]), job["workflow"] or "graph", worker_of(job), ago(job["created_at"]),
        seconds(job["timings"]["total"]),
    )  # fmt: skip


def worker_of(job: dict[str, Any]) -> str | None:
    """The worker of the job's last run."""
    return job["runs"][-1]["worker"] if job["runs"] else None


def _print_job(job: dict[str, Any]) -> None:
    kind = f"{job['workflow']}, version {job['version']}" if job["workflow"] else "a raw graph"
    out.print(f"job {job['id']}  ", status_text(job["status"]), f"  {kind}", sep="")
    if job["queue_position"] is not None:
        out.print(f"{job['queue_position']} runs of pool {job['pool']} are ahead of it")
    if job["status"] == "running" and job["progress"]:
        out.print(f"{job['progress']['value']:.0%} done, in {job['progress']['node_class'] or 'no node'}")
    for key, value in job["params"].items():
        out.print(f"  {key} = {value}", markup=False)
    timings = [f"{name} {seconds(value)}" for name, value in job["timings"].items() if value is not None]
    out.print(", ".join(timings) + (f"; cost {dollars(job['cost'])}" if job["cost"] is not None else ""))
    for run in job["runs"]:
        outcome = f": {run['outcome']}" if run["outcome"] else ""
        out.print(f"{_called(job, run)} on {run['worker'] or 'no worker yet'}: {run['state']}{outcome}", markup=False)
        if run["lock"]:
            out.print(f"  under lock {run['lock']}", markup=False, soft_wrap=True)
    if quality := job["quality"]:
        _print_quality(quality)
    for output in job["outputs"]:
        shape = f" {output['width']}x{output['height']}" if output["width"] else ""
        out.print(f"  {output['url']}  {output['name']}{shape}  {size(output['size_bytes'])}", markup=False)
    if error := job["error"]:
        node = f" in node {error['node_id']} ({error['class_type']})" if error["node_id"] else ""
        out.print(f"failed{node}: {error['message']}", style="red", markup=False)


def _called(job: dict[str, Any], run: dict[str, Any]) -> str:
    return f"candidate {run['slot']}, run {run['attempt']}" if job["quality"] else f"run {run['attempt']}"


def _print_quality(quality: dict[str, Any]) -> None:
    out.print(f"quality {quality['state']}" + (f": {quality['why']}" if quality["why"] else ""), markup=False)
    for candidate in quality["candidates"]:
        mark = "*" if candidate["chosen"] else " "
        scores = ", ".join(
            f"{name} {'-' if score['value'] is None else format(score['value'], '.2f')}"
            for name, score in candidate["scores"].items()
        )
        out.print(f" {mark} candidate {candidate['slot']}: {scores or candidate['state']}", markup=False)


def _print_explanation(explanation: dict[str, Any]) -> None:
    out.print(f"job {explanation['job']} {explanation['summary']}", markup=False)
    for run in explanation["runs"]:
        placement = run["placement"]
        why = f": {placement['why']}" if "why" in placement else f": {run['state']}"
        out.print(f"run {run['attempt']} on {run['worker'] or 'no worker yet'}{why}", markup=False)
        for title in ("resident", "loads"):
            if placement.get(title):
                out.print(f"  {title}: {', '.join(placement[title])}", markup=False)
        for other in placement.get("considered", ()):
            terms = ", ".join(f"{key.removesuffix('_s')} {seconds(value)}" for key, value in _seconds_of(other))
            out.print(f"  {other['worker']} would take {terms}", markup=False)
        for worker, reason in placement.get("refused", {}).items():
            out.print(f"  {worker} cannot: {reason}", markup=False)
        if share := placement.get("share"):
            out.print(f"  {_share(share)}", markup=False)
    if explanation["status"] == "queued":
        for worker in explanation["workers"]:
            can = f"cannot take it: {worker['cannot']}" if worker["cannot"] else "can take it"
            out.print(f"worker {worker['id']}: {worker['state']}, {worker['runs']} runs, {can}", markup=False)


def _share(share: dict[str, Any]) -> str:
    """Where its tenant stood when it was placed."""
    ahead = share["ahead_s"]
    stood = f"{ahead:.0f} GPU-seconds ahead of the others" if ahead > 0 else "not ahead of the others"
    allowed = "within its share" if share["within"] else "beyond its share: nobody within theirs could use the worker"
    return f"tenant {share['tenant']} was {stood}, {share['allowed_s']:.0f} are allowed; {allowed}"


def _seconds_of(terms: dict[str, Any]) -> list[tuple[str, float]]:
    return [(key, value) for key, value in terms.items() if key.endswith("_s")]
