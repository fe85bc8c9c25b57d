"""fleet.yaml and the environment: what is read, and how a mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from orchestrator.errors import InvalidRequest
from orchestrator.settings import Settings, host_port, load
from orchestrator.worker_settings import AttachedWorker, RecycleSettings, SupervisedWorker


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "etc" / "fleet.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    settings = load(None)
    assert host_port(settings.listen) == ("127.0.0.1", 8200)
    assert settings.redis.url == "embedded"
    assert settings.data_dir == tmp_path / "data"
    assert settings.workflows == tmp_path / "workflows"


def test_the_example_of_the_manual_is_read(write) -> None:
    settings = load(
        write("""
listen: 127.0.0.1:8200
data_dir: ./data
redis: {url: "redis://10.0.0.1:6379/0"}
storage: {kind: s3, bucket: pictures, endpoint: "http://minio:9000"}
workers:
  - {url: "http://10.0.0.5:8188", gpu: a100-80gb, pool: default}
  - {comfyui: /opt/ComfyUI, devices: [0, 1], args: [--reserve-vram, "1"], pool: default, gpu: l4}
gpu_rates: {a100-80gb: 4.93}
""")
    )
    assert settings.storage.bucket == "pictures"
    assert [worker.gpu for worker in settings.workers] == ["a100-80gb", "l4"]
    assert settings.gpu_rates == {"a100-80gb": 4.93}


def test_a_relative_path_is_relative_to_the_file_that_names_it(write, tmp_path: Path) -> None:
    settings = load(write("{data_dir: ./here, storage: {path: ../pictures}}"))
    assert settings.data_dir == tmp_path / "etc" / "here"
    assert settings.workflows == tmp_path / "etc" / "workflows"
    assert settings.storage.path == tmp_path / "pictures"


def test_a_tilde_is_the_home_of_the_user(write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    settings = load(write("{data_dir: ~/data, workers: [{comfyui: ~/ComfyUI, lock: ~nobody-like-that/x}]}"))
    (worker,) = settings.workers
    assert isinstance(worker, SupervisedWorker)
    assert (settings.data_dir, worker.comfyui) == (tmp_path / "me/data", tmp_path / "me/ComfyUI")
    assert worker.lock == tmp_path / "etc/~nobody-like-that/x"


def test_supervised_workers_have_their_paths_beside_the_file_and_a_name_a_device(write, tmp_path: Path) -> None:
    (tmp_path / "env").symlink_to("/usr/bin")
    settings = load(
        write("""
workers:
  - {comfyui: ComfyUI, python: ../env/python3, warmup: warm.json, logs: /var/log, devices: [0, cpu, 3, cpu], id: n}
  - {comfyui: /opt/ComfyUI, recycle: {runs: 9}}
""")
    )
    first, second = settings.workers
    assert isinstance(first, SupervisedWorker)
    assert isinstance(second, SupervisedWorker)
    assert first.worker_ids == ("n-gpu0", "n-cpu0", "n-gpu3", "n-cpu1")
    assert (first.comfyui, first.warmup) == (tmp_path / "etc/ComfyUI", tmp_path / "etc/warm.json")
    assert first.python == tmp_path / "etc/../env/python3"  # a link in a virtual environment is not followed
    assert first.logs == Path("/var/log")
    assert (second.comfyui, second.python, second.devices) == (Path("/opt/ComfyUI"), None, (0,))
    assert second.recycle == RecycleSettings(runs=9)
    assert second.worker_ids[0].endswith("-gpu0")


def test_a_relative_path_of_the_environment_is_relative_to_the_working_directory(
    write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFYFLEET_DATA_DIR", "./elsewhere")
    assert load(write("data_dir: ./here")).data_dir == tmp_path / "elsewhere"


def test_the_environment_overrides_one_key_and_leaves_its_neighbours(write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYFLEET_REDIS__URL", "redis://other:6379/1")
    settings = load(write("redis: {url: embedded, namespace: mine}"))
    assert settings.redis.url == "redis://other:6379/1"
    assert settings.redis.namespace == "mine"


def test_workflows_null_means_no_folder(write) -> None:
    assert load(write("workflows: null")).workflows is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lissten: 127.0.0.1:1", "unknown key lissten; did you mean listen?"),
        ("redis: {ulr: embedded}", "unknown key redis.ulr; did you mean url?"),
        ("workers: [{url: 'http://h:1', gup: x}]", "unknown key workers.0.gup; did you mean gpu?"),
        ("workers: [{pool: x}]", "workers.0.url: Field required"),
        ("workers: [{url: '10.0.0.5:8188'}]", "workers.0.url: say where ComfyUI answers"),
        ("workers: [{url: 'http://h:1'}, {url: 'http://h:1/'}]", "two workers are called h-1"),
        ("workers: [{comfyui: x, devicse: [0]}]", "unknown key workers.0.devicse; did you mean devices?"),
        ("workers: [{comfyiu: x}]", "unknown key workers.0.comfyiu; did you mean comfyui?"),
        ("workers: [{comfyui: x, recycle: {rss: 3}}]", "unknown key workers.0.recycle.rss; did you mean rss_gb?"),
        ("workers: [{comfyui: x, devices: []}]", "workers.0.devices: Tuple should have at least 1 item"),
        ("workers: [{comfyui: x, devices: [gpu]}]", "workers.0.devices: say GPUs by number, or cpu, as a list"),
        ("workers: [{comfyui: x, devices: [-1]}]", "workers.0.devices: say GPUs by number"),
        ("workers: [{comfyui: x, devices: cpu}]", "e.g. [0, 1] or [cpu], not 'cpu'"),
        ("workers: [{comfyui: x, args: --lowvram}]", "workers.0.args: it has to be a list"),
        ("workers: [{comfyui: x, recycle: 5}]", "workers.0.recycle: it has to be a mapping"),
        ("workers: [{url: 'http://h:1', devices: [0]}]", "unknown key workers.0.devices: a worker has url, or comfyui"),
        ("workers: [{url: 'http://h:1', comfyui: x}]", "unknown key workers.0.url: a worker has url, or comfyui"),
        ("workers: [{url: 'http://h:99999'}]", "workers.0.url: Port out of range"),
        ("workers: [{comfyui: x, recycle: {rss_gb: .inf}}]", "recycle.rss_gb: Input should be a finite number"),
        ("drain_s: .inf", "drain_s: Input should be a finite number"),
        ("leases: {sweep_s: -1}", "leases.sweep_s: Input should be greater than 0"),
        ("workers: [{comfyui: x, args: [--port, '1']}]", "workers.0.args: --port is set by comfyfleet"),
        ("workers: [{comfyui: x, args: ['--listen=0.0.0.0']}]", "supervised workers answer on 127.0.0.1 alone"),
        ("workers: [{comfyui: x, id: n}, {comfyui: y, id: n}]", "two workers are called n-gpu0"),
        ("supervision: {boot: 3}", "unknown key supervision.boot; did you mean boot_s?"),
        ("traces: {endpoint: 'otel:4318'}", "traces.endpoint: say the base URL of an OTLP collector, e.g. http://"),
        ("gpu_rates: {l4: .nan}", "gpu_rates.l4: Input should be a finite number"),
        ("gpu_rates: {l4: 1e300}", "gpu_rates.l4: Input should be less than or equal to 1000000"),
        ("watchdog: {step_s: 0}", "watchdog.step_s: Input should be greater than 0"),
        ("workers: [{url: 'http://h:1', id: gpu box}]", "workers.0.id: String should match pattern"),
        ("workers: [{url: 'http://h:1', pool: Big}]", "workers.0.pool: String should match pattern"),
        ("listen: localhost", "listen: say HOST:PORT"),
        ("listen: 'localhost:99999'", "listen: say HOST:PORT"),
        ("redis: {url: 'localhost:6379'}", "redis.url: say embedded, or a redis://"),
        ("storage: {kind: s3}", "storage: storage of kind s3 needs a bucket"),
        ("leases: {worker_s: 5}", "leases: worker_s must be over twice heartbeat_s"),
        ("[1, 2]", "must hold a mapping of settings, not a list"),
        ("listen: [", "is not YAML"),
    ],
)
def test_a_mistake_is_told_with_file_and_key(write, text: str, says: str) -> None:
    path = write(text)
    with pytest.raises(InvalidRequest) as refused:
        load(path)
    assert says in refused.value.message
    assert str(path) in refused.value.message


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"cannot read .*absent\.yaml: No such file"):
        load(tmp_path / "absent.yaml")


def test_a_misspelt_variable_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYFLEET_REDSI__URL", "redis://h")
    with pytest.raises(InvalidRequest, match=r"COMFYFLEET_REDSI__URL, .* did you mean COMFYFLEET_REDIS\?"):
        load(None)


def test_a_bad_value_of_a_variable_names_the_variable(write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYFLEET_REDIS__URL", "nonsense")
    with pytest.raises(InvalidRequest, match=r"COMFYFLEET_REDIS__URL: redis\.url: say embedded"):
        load(write("{}"))


def test_the_variable_of_the_clients_is_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYFLEET_URL", "http://fleet:8200")
    assert load(None).listen == "127.0.0.1:8200"


@pytest.mark.parametrize(
    ("url", "id", "expected"),
    [
        ("http://10.0.0.5:8188", None, "10.0.0.5-8188"),
        ("https://gpu.example.com/comfy", None, "gpu.example.com-comfy"),
        ("http://[::1]:8188", None, "1-8188"),
        ("http://10.0.0.5:8188", "left", "left"),
    ],
)
def test_a_worker_is_called_after_its_url_unless_it_has_an_id(url: str, id: str | None, expected: str) -> None:
    assert AttachedWorker(url=url, id=id).worker_id == expected


def test_pools_are_kept_warm_by_name(write) -> None:
    pools = load(write("pools: {default: {min_warm: 2, warm: [sdxl-base-refiner, sd15-txt2img]}}")).pools
    assert pools["default"].min_warm == 2
    assert pools["default"].warm == ("sdxl-base-refiner", "sd15-txt2img")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pools: {default: {min_wram: 2}}", "unknown key pools.default.min_wram; did you mean min_warm?"),
        ("pool: {default: {}}", "unknown key pool; did you mean pools?"),
        ("pools: {default: {min_warm: 0}}", "pools.default.min_warm"),
        ("pools: {Big Ones: {}}", "pools"),
    ],
)
def test_a_mistake_in_a_pool_is_told(write, text: str, told: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        load(write(text))
    assert told in refused.value.message


@pytest.mark.parametrize("route", ["easyuse/", "/easyuse", "/", "//", "/api/x/", "/editor/", "/a/../b/", "/{x}/"])
def test_routes_that_can_be_no_node_packs(route: str) -> None:
    with pytest.raises(ValidationError, match="say paths of node packs"):
        Settings(node_pack_routes=(route,))
