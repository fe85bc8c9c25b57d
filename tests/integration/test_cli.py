"""The commands against a real fleet in a process of its own: two simulated ComfyUIs, real Redis, real sockets."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from PIL import Image
from redis.asyncio import Redis
from typer.testing import CliRunner, Result

from orchestrator.cli.client import ask
from orchestrator.cli.main import app
from orchestrator.store.embedded import EmbeddedRedis

ROOT = Path(__file__).parent.parent.parent
TRIVIAL = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 32, "height": 16, "batch_size": 1, "color": 255}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
}


def start(*command: str) -> tuple[subprocess.Popen[bytes], str]:
    """A command that serves, and the URL of its ready line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout
    line = process.stdout.readline().decode()
    assert line.startswith("ready http://127.0.0.1:"), f"{command} did not get ready: {line!r}"
    return process, line.split()[1]


def stop(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGTERM)
    code = process.wait(30)
    for stream in (process.stdin, process.stdout):
        assert stream
        stream.close()
    return code


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fleet")
    file = folder / "fleet.yaml"
    file.write_text(json.dumps({"workflows": str(ROOT / "workflows"), "data_dir": str(folder / "data")}))
    return file


@pytest.fixture(scope="module")
def fleet(config: Path) -> Iterator[str]:
    process, url = start("up", "--config", str(config), "--simulate", "2", "--port", "0")
    yield url
    assert stop(process) == 0


@pytest.fixture
def run(fleet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs a command against the fleet, in an empty folder."""
    monkeypatch.setenv("COMFYFLEET_URL", fleet)
    monkeypatch.chdir(tmp_path)

    def run(*command: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, command)
        assert result.exit_code == code, f"{command}: {result.output}"
        return result

    return run


def one_line(result: Result) -> str:
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


def test_run_submits_follows_and_saves(run, tmp_path: Path) -> None:
    result = run("run", "hello", "-p", "width=64", "-p", "height=32", "-n", "3", "-o", "pictures")
    assert result.stderr.count(": succeeded") == 3
    pictures = sorted((tmp_path / "pictures").iterdir())
    assert len(pictures) == 3
    for picture in pictures:
        assert picture.name in result.stdout
        with Image.open(picture) as image:
            assert image.size == (64, 32)


def test_run_prints_the_job_as_json(run, tmp_path: Path) -> None:
    job = json.loads(run("run", "hello", "-p", "color=1", "--json").stdout)
    assert job["status"] == "succeeded"
    assert job["params"] == {"width": 256, "height": 256, "color": 1}
    assert (tmp_path / job["outputs"][0]["saved"]).stat().st_size == job["outputs"][0]["size_bytes"]


def test_run_uploads_a_file(run, fleet: str, tmp_path: Path) -> None:
    Image.new("RGB", (20, 10), (255, 0, 0)).save(tmp_path / 'été "red"\n.png')
    job = json.loads(run("run", "image-invert", "-f", 'image=été "red"\n.png', "--json").stdout)
    assert ask(fleet, "GET", f"/v1/assets/{job['params']['image']}")["name"] == 'été "red".png'
    with Image.open(tmp_path / job["outputs"][0]["saved"]) as image:
        assert image.size == (20, 10)
        assert image.convert("RGB").getpixel((0, 0)) == (0, 255, 255)


def test_a_value_is_typed_by_the_schema_of_the_workflow(run) -> None:
    job = json.loads(run("run", "sd15-txt2img", "-p", "prompt=42", "-p", "steps=10", "-p", "cfg=5", "--json").stdout)
    assert job["params"]["prompt"] == "42"
    assert (job["params"]["steps"], job["params"]["cfg"]) == (10, 5)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("run", "hello", "-p", "widht=64"), "no param widht; did you mean width?"),
        (("run", "hello", "-p", "width=wide"), "width takes integer, not 'wide'"),
        (("run", "hello", "-p", "width=5"), "/params/width"),
        (("run", "hello", "-p", "width"), "write it as -p KEY=VALUE"),
        (("run", "image-invert", "-f", "image=absent.png"), "cannot read absent.png"),
        (("run", "hello", "-p", "width=99999999999999999999999"), "cannot be sent"),
        (("run", "hello", "-n", "100000000"), "less than or equal to 10000"),
        (("run", "no-such-workflow"), "no-such-workflow"),
        (("submit", "absent.json"), "cannot read absent.json"),
        (("job", "no-such-job"), "no-such-job"),
        (("run",), "Missing argument"),
        (("jobs", "--statsu", "queued"), "No such option"),
        (("jbos",), "Did you mean 'jobs'"),
        (("jobs", "--url", "nonsense"), "type --url http://nonsense"),
        (("jobs", "--url", "ftp://x"), "type --url http://127.0.0.1:8200"),
        (("jobs", "--url", "127.0.0.1:8200"), "type --url http://127.0.0.1:8200"),
        (("jobs", "--url", "http://:80:80"), "type --url http://127.0.0.1:8200"),
    ],
)
def test_a_wrong_command_is_told_in_one_line(run, command: tuple[str, ...], says: str) -> None:
    assert says in one_line(run(*command, code=2))


@pytest.mark.parametrize("folder", ["taken", "taken/pictures", "/proc/pictures"])
def test_a_folder_that_cannot_be_written_is_told_before_anything_is_run(
    run, fleet: str, tmp_path: Path, folder: str
) -> None:
    (tmp_path / "taken").touch()
    (tmp_path / "g.json").write_bytes(orjson.dumps(TRIVIAL))
    before = len(ask(fleet, "GET", "/v1/jobs")["jobs"])
    for command in (("run", "hello"), ("submit", "g.json"), ("workflows", "init", "g.json")):
        assert folder in one_line(run(*command, "-o", folder, code=1))
    assert len(ask(fleet, "GET", "/v1/jobs")["jobs"]) == before


def test_a_fleet_that_is_not_there_is_told_in_one_line(run) -> None:
    said = one_line(run("jobs", "--url", "http://127.0.0.1:9", code=1))
    assert "no fleet answers at http://127.0.0.1:9: start one with comfyfleet up" in said


def test_submit_runs_a_raw_graph(run, tmp_path: Path) -> None:
    (tmp_path / "graph.json").write_bytes(orjson.dumps(TRIVIAL))
    job = json.loads(run("submit", "graph.json", "--json").stdout)
    with Image.open(tmp_path / job["outputs"][0]["saved"]) as image:
        assert image.size == (32, 16)


def test_a_refused_graph_names_the_place(run, tmp_path: Path) -> None:
    broken = {**TRIVIAL, "2": {"class_type": "SaveImage", "inputs": {"images": ["7", 0]}}}
    (tmp_path / "graph.json").write_bytes(orjson.dumps(broken))
    assert "/workflow/2/inputs/images" in one_line(run("submit", "graph.json", code=2))


def test_jobs_job_and_explain_tell_of_a_job(run) -> None:
    job_id = json.loads(run("run", "hello", "--json").stdout)["id"]
    assert job_id in run("jobs", "--workflow", "hello", "--limit", "5").stdout
    assert json.loads(run("jobs", "--limit", "1", "--json").stdout)["jobs"][0]["id"] == job_id
    shown = run("job", job_id).stdout
    assert "succeeded" in shown
    assert "width = 256" in shown
    worker = json.loads(run("job", job_id, "--json").stdout)["runs"][0]["worker"]
    assert f"run 1 on {worker}: " in run("explain", job_id).stdout


def test_a_person_decides_on_candidates(run, fleet: str) -> None:
    gate = {"scores": {"sharpness": {"min": 0.5}}, "images": ["2"], "candidates": 2, "otherwise": "review"}
    schema = {"type": "object", "properties": {"color": {"type": "integer", "minimum": 0, "maximum": 255}}}
    workflow = {"name": "judged", "graph": TRIVIAL, "params": schema, "bind": {"color": "1.color"}}
    ask(fleet, "POST", "/v1/workflows", {**workflow, "quality": {**gate, "on_miss": {"reseed": "color"}}})
    for order, status in (("approve", "succeeded"), ("reject", "failed")):
        job_id = ask(fleet, "POST", "/v1/workflows/judged/jobs", {"params": {"color": 7}})["id"]
        while job_id not in (listed := run("reviews", "--json").stdout):
            pass
        assert json.loads(listed)["reviews"][0]["quality"]["state"] == "review"
        assert "at least 0.50 is wanted" in " ".join(run("reviews").stdout.split())
        assert f"job {job_id}: {status}" in run("reviews", order, job_id, "--comment", "seen").stdout
        shown = run("job", job_id).stdout
        assert "sharpness 0.00" in shown
        assert ("* candidate" in shown) == (order == "approve")
        assert "waits for nobody" in one_line(run("reviews", order, job_id, code=2))


def test_cancel_stops_a_queued_job(run, fleet: str) -> None:
    from orchestrator.cli.client import ask

    job = ask(fleet, "POST", "/v1/jobs", {"workflow": TRIVIAL, "pool": "of-nobody"})
    assert "no worker of pool of-nobody" in run("explain", job["id"]).stdout
    assert f"job {job['id']}: cancel" in run("cancel", job["id"]).stdout
    assert json.loads(run("cancel", job["id"], "--json").stdout)["status"] == "canceled"


def test_workers_are_listed_drained_and_resumed(run) -> None:
    listed = json.loads(run("workers", "--json").stdout)["workers"]
    assert [worker["state"] for worker in listed] == ["ready", "ready"]
    name = listed[0]["id"]
    assert name in run("workers").stdout
    assert run("workers", "drain", name).stdout == f"worker {name}: draining\n"
    assert run("workers", "resume", name).stdout == f"worker {name}: ready\n"
    run("workers", "free", name)
    assert "no-such-worker" in one_line(run("workers", "drain", "no-such-worker", code=2))


def test_a_workflow_is_drafted_registered_run_and_rolled_back(run, tmp_path: Path) -> None:
    (tmp_path / "my_graph.json").write_bytes(orjson.dumps(TRIVIAL))
    run("workflows", "init", "my_graph.json", "-o", "flows")
    assert "my_graph is valid: 2 nodes" in run("workflows", "validate", "flows/my_graph.yaml").stdout
    assert run("workflows", "register", "flows/my_graph.yaml").stdout == "my_graph: version 1, active\n"
    run("run", "my_graph", "-p", "width=128")
    yaml = tmp_path / "flows" / "my_graph.yaml"
    yaml.write_text(yaml.read_text().replace("description: ''", "description: changed"))
    assert run("workflows", "register", "flows/my_graph.yaml").stdout == "my_graph: version 2, active\n"
    assert run("workflows", "activate", "my_graph", "1").stdout == "my_graph: version 1 is active\n"
    assert json.loads(run("workflows", "show", "my_graph", "--json").stdout)["version"] == 1
    assert "width" in run("workflows", "show", "my_graph").stdout
    shown = run("workflows", "show", "sd15-txt2img").stdout
    assert next(line for line in shown.splitlines() if line.startswith("seed ")).split()[1:3] == ["integer", "drawn"]
    assert "my_graph" in run("workflows").stdout


def test_init_overwrites_nothing(run, tmp_path: Path) -> None:
    (tmp_path / "g.json").write_bytes(orjson.dumps(TRIVIAL))
    run("workflows", "init", "g.json")
    assert "workflows/g.yaml is there already" in one_line(run("workflows", "init", "g.json", code=2))


def test_validate_names_file_and_line(run, tmp_path: Path) -> None:
    (tmp_path / "g.json").write_bytes(orjson.dumps(TRIVIAL))
    run("workflows", "init", "g.json")
    yaml = tmp_path / "workflows" / "g.yaml"
    yaml.write_text(yaml.read_text().replace("1.width", "9.width"))
    said = one_line(run("workflows", "validate", str(yaml), code=2))
    assert f"{yaml}:" in said
    assert "/bind/width" in said


def test_doctor_finds_a_healthy_fleet(run, fleet: str, tmp_path: Path) -> None:
    url = json.loads(run("workers", "--json").stdout)["workers"][0]["url"]
    (tmp_path / "fleet.yaml").write_text(json.dumps({"workers": [{"url": url}]}))
    found = {finding["subject"]: finding for finding in json.loads(run("doctor", "--json").stdout)}
    assert all(finding["ok"] for finding in found.values())
    assert found["durability"]["words"] == "appendonly yes, appendfsync always, maxmemory-policy noeviction"
    words = found[f"worker {url.removeprefix('http://').replace(':', '-')}"]["words"]
    assert "node classes" in words
    assert "inferred from what it ran: its ComfyUI has not comfyfleet's node pack" in words


def test_residency_names_who_has_which_model_and_how_that_is_known(run, fleet: str) -> None:
    held = json.loads(run("residency", "--json").stdout)
    [model] = [each for each in held["models"] if each["name"] == "sd_xl_refiner_1.0.safetensors"]
    assert set(model["vram"]) | set(model["ram"]) | set(model["disk"]) == {each["worker"] for each in held["workers"]}
    said = run("residency").stdout
    assert "checkpoints/sd_xl_refiner_1.0.safetensors" in said
    assert "inferred (its ComfyUI has not comfyfleet's node pack" in said


def test_doctor_says_what_to_fix(run, tmp_path: Path) -> None:
    config = {"workers": [{"url": "http://127.0.0.1:9", "id": "gone"}], "redis": {"url": "redis://127.0.0.1:9"}}
    (tmp_path / "fleet.yaml").write_text(json.dumps(config))
    said = run("doctor", code=1).stdout
    assert "FIX  redis  redis://127.0.0.1:9 does not answer" in said
    assert "FIX  worker gone  http://127.0.0.1:9 cannot be reached" in said
    assert "ok   storage" in said


def test_doctor_names_what_a_redis_would_lose(run, tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        server = runner.run(EmbeddedRedis.start(tmp_path))
        runner.run(_command(server.url, "CONFIG", "SET", "appendfsync", "everysec"))
        (tmp_path / "fleet.yaml").write_text(json.dumps({"redis": {"url": server.url}}))
        said = run("doctor", code=1).stdout
        runner.run(server.stop())
    assert "FIX  durability  appendfsync is everysec, so that a crash of its machine loses jobs" in said
    assert "ok   workers  none here" in said  # a Redis that others share has its workers elsewhere


async def _command(url: str, *words: str) -> None:
    async with Redis.from_url(url) as redis:
        await redis.execute_command(*words)


def test_up_says_that_its_port_is_taken(run, fleet: str) -> None:
    said = one_line(run("up", "--port", fleet.rpartition(":")[2], code=2))
    assert "another process listens there" in said
    assert "--port" in said


def test_up_says_that_its_data_dir_cannot_be_used(run, tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text("data_dir: /dev/null/data")
    said = one_line(run("up", "--config", str(file), "--port", "0", code=2))
    assert "nothing can be kept in /dev/null/data (Not a directory): set data_dir" in said


def test_up_says_that_its_data_dir_is_taken(run, config: Path) -> None:
    said = one_line(run("up", "--config", str(config), "--port", "0", code=2))
    assert f"another comfyfleet up uses {config.parent / 'data'}" in said


def test_a_role_of_its_own_wants_a_redis_of_its_own(run) -> None:
    assert "set redis.url" in one_line(run("agent", code=2))
    assert "set redis.url" in one_line(run("controller", "--port", "0", code=2))


def test_what_was_spent_is_told_by_whatever_a_label_says(run, fleet: str) -> None:
    ask(fleet, "POST", "/v1/workflows/sd15-txt2img/jobs", {"params": {"prompt": "x"}, "metadata": {"team": "[/red]"}})
    lines = costs_by_team(run, "[/red]")
    assert lines[0].split()[0] == "label[team]"
    assert next(line for line in lines if "(none)" in line).rstrip().endswith("-")  # nobody named a rate
    assert "(unused)" in run("costs").stdout


def costs_by_team(run, key: str) -> list[str]:
    """Once a job of that team has ended."""
    while True:
        lines = run("costs", "--by", "label[team]").stdout.splitlines()
        if any(line.startswith(key) for line in lines):
            return lines


def test_a_plan_on_a_workflow_that_never_ran_says_that_it_guesses(run) -> None:
    told = run("plan", "--jobs-per-hour", "60", "--latency", "60", "--workflow", "sd15-lora")
    assert "sd15-lora has not run yet" in told.stderr
    assert told.stdout.splitlines()[0].startswith("workers")
    assert run("plan", "--jobs-per-hour", "60", "--latency", "60", "--seconds", "1").stderr == ""


def test_a_profile_of_a_workflow_that_never_ran_says_so(run) -> None:
    assert "no runs yet" in run("profile", "sd15-lora").output


def test_a_broken_pipe_is_no_traceback(fleet: str) -> None:
    env = {**os.environ, "COMFYFLEET_URL": fleet}
    shell = f"{sys.executable} -m orchestrator workflows list | head -1"
    ended = subprocess.run(["bash", "-c", shell], capture_output=True, env=env, check=True, cwd=ROOT)
    assert ended.stderr == b""
    assert len(ended.stdout.splitlines()) == 1


def test_the_demo_leaves_its_pictures_and_nothing_else(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-m", "orchestrator", "demo"],
        cwd=tmp_path, env=environment, capture_output=True, timeout=100, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr.decode()
    pictures = sorted((tmp_path / "demo-output").iterdir(), key=lambda path: path.name)
    assert [picture.name.partition("-")[0] for picture in pictures] == [*"12345678"]
    for picture in pictures:
        assert picture.name in ran.stdout.decode()
        with Image.open(picture) as image:
            image.load()
    assert not list((tmp_path / "data").iterdir())
