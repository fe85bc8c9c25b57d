"""The command `comfyfleet`: one module per group of commands, put together here."""

from __future__ import annotations

import typer

from orchestrator.cli import (
    costs,
    demo,
    doctor,
    jobs,
    pins,
    plan,
    profile,
    reviews,
    run,
    serve,
    simulate,
    workers,
    workflows,
)
from orchestrator.cli.bench import command as bench
from orchestrator.cli.errors import OneLineErrors

app = typer.Typer(
    name="comfyfleet",
    cls=OneLineErrors,
    help="One endpoint in front of any number of ComfyUIs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SERVE, WORK, SETUP, PINS = "Serve", "Jobs", "Set up and look after", "Pin what a ComfyUI is made of"

app.command(rich_help_panel=SERVE)(serve.up)
app.command(rich_help_panel=SERVE)(serve.controller)
app.command(rich_help_panel=SERVE)(serve.agent)
app.command("sim-worker", rich_help_panel=SERVE)(serve.sim_worker)
app.command(rich_help_panel=SERVE)(demo.demo)

app.command(rich_help_panel=WORK)(run.run)
app.command(rich_help_panel=WORK)(run.submit)
app.command("jobs", rich_help_panel=WORK)(jobs.list_jobs)
app.command("job", rich_help_panel=WORK)(jobs.show_job)
app.command(rich_help_panel=WORK)(jobs.cancel)
app.command(rich_help_panel=WORK)(jobs.explain)
app.add_typer(reviews.app, name="reviews", rich_help_panel=WORK)

app.add_typer(workflows.app, name="workflows", rich_help_panel=SETUP)
app.add_typer(workers.app, name="workers", rich_help_panel=SETUP)
app.command(rich_help_panel=SETUP)(workers.residency)
app.command(rich_help_panel=SETUP)(costs.costs)
app.command(rich_help_panel=SETUP)(profile.profile)
app.command("plan", rich_help_panel=SETUP)(plan.plan_capacity)
app.command(rich_help_panel=SETUP)(doctor.doctor)
app.command(rich_help_panel=SETUP)(bench.bench)
app.command(rich_help_panel=SETUP)(simulate.simulate)

app.command(rich_help_panel=PINS)(pins.lock)
app.command(rich_help_panel=PINS)(pins.provision)
app.command(rich_help_panel=PINS)(pins.verify)
app.command(rich_help_panel=PINS)(pins.gc)
