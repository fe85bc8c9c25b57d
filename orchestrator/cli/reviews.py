"""`reviews`: jobs whose candidates a person decides on."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from orchestrator.cli.client import ask
from orchestrator.cli.console import emit_json, emit_table, out, seconds
from orchestrator.cli.options import DEFAULT_URL, AsJson, Url

app = typer.Typer(help="Decide on jobs that wait for a person.", invoke_without_command=True)

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id; comfyfleet reviews lists them.")]
Comment = Annotated[str, typer.Option(help="Why; kept with the job.")]


@app.callback()
def reviews(context: typer.Context, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Without a command: list them."""
    if context.invoked_subcommand is None:
        list_reviews(url, as_json)


@app.command("list")
def list_reviews(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List the jobs that wait, with their candidates: the best first, and where to see them."""
    listed = ask(url, "GET", "/v1/reviews")
    if as_json:
        emit_json(listed)
        return
    emit_table(
        ("job", "workflow", "left", "slot", "score", "picture", "why it is not good"),
        (_row(review, candidate) for review in listed["reviews"] for candidate in review["quality"]["candidates"]),
        empty="nothing waits for a review",
    )


@app.command()
def approve(
    job_id: JobId,
    slot: Annotated[list[int] | None, typer.Option(help="A candidate to deliver; may be given more than once.")] = None,
    comment: Comment = "",
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Deliver candidates of a job: those that are named, else the ones that the gate chose."""
    chosen = {"slots": slot} if slot else {}
    _show(ask(url, "POST", f"/v1/reviews/{job_id}/approve", {**chosen, "comment": comment}), as_json)


@app.command()
def reject(job_id: JobId, comment: Comment = "", url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Fail a job."""
    _show(ask(url, "POST", f"/v1/reviews/{job_id}/reject", {"comment": comment}), as_json)


def _show(job: dict[str, Any], as_json: bool) -> None:
    if as_json:
        emit_json(job)
    else:
        out.print(f"job {job['id']}: {job['status']}")


def _row(review: dict[str, Any], candidate: dict[str, Any]) -> tuple[Any, ...]:
    score = "-" if candidate["score"] is None else f"{candidate['score']:.2f}"
    pictures = "\n".join(output["url"] for output in candidate["outputs"])
    misses = "\n".join(candidate["misses"])
    left = seconds(max(0.0, review["due_in_s"]))
    return review["job"], review["workflow"], left, str(candidate["slot"]), score, pictures or "-", misses
