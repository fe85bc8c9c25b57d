"""The Helm chart, rendered as Helm does, held against Kubernetes's own schemas and against our settings."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from orchestrator.cli.doctor import DURABLE
from orchestrator.settings import Settings, load

ROOT = Path(__file__).parents[3]
CHART = ROOT / "deploy/helm/comfyfleet"
RENDERER = Path(__file__).parent / "render/main.go"
SOURCES = Path("/usr/share/gocode")
KUBERNETES = "1.31"
LOCK = "comfyui: {repo: somewhere}\npython: 3.12\n"
SAID: Mapping[str, Any] = {"storage": {"bucket": "pictures"}, "agents": {"default": {"lock": LOCK}}}
MORE: Mapping[str, Any] = {
    "redis": {"url": "rediss://redis.example:6379/3"},
    "storage": {"bucket": "pictures", "endpoint": "https://s3.example", "redirect": False},
    "config": {"gpu_rates": {"h200": 3.5}, "tenants": {"acme": {"weight": 2}}},
    "controllers": {"replicas": 3},
    "clients": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
    "agents": {
        "default": {"lock": LOCK, "gpus": 4, "gpu": "h200", "storageClass": "fast", "nodeSelector": {"kind": "h200"}},
        "video": {
            "lock": LOCK, "replicas": 1, "gpus": 1, "gpu": "", "worker": {"recycle": {"runs": 500}},
            "drainSeconds": 3600, "disk": "500Gi", "resources": {"requests": {"cpu": "4"}}, "nodeSelector": {},
            "tolerations": [], "autoscale": {"min": 0, "max": 8},
        },
    },
}  # fmt: skip
Objects = dict[tuple[str, str], Any]
Render = Callable[[Mapping[str, Any]], Objects]


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("go") is None or not (SOURCES / "src/github.com/Masterminds/sprig").exists():
        pytest.skip("the chart is rendered in Go: apt-get install golang-go golang-github-masterminds-sprig-dev")
    binary = tmp_path_factory.mktemp("renderer") / "render"
    environment = os.environ | {"GO111MODULE": "off", "GOPATH": str(SOURCES), "CGO_ENABLED": "0"}
    subprocess.run(["go", "build", "-o", binary, RENDERER], env=environment, check=True)
    return binary


@pytest.fixture(scope="module")
def render(renderer: Path) -> Render:
    """By kind and name."""

    def rendered(given: Mapping[str, Any]) -> Objects:
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
        context = {
            "Values": merged(yaml.safe_load((CHART / "values.yaml").read_text()), given),
            "Release": {"Name": "fleet", "Namespace": "art", "Service": "Helm"},
            "Chart": {"Name": chart["name"], "Version": chart["version"], "AppVersion": chart["appVersion"]},
        }
        templates = {path.name: path.read_text() for path in (CHART / "templates").iterdir()}
        done = subprocess.run(
            [renderer], input=json.dumps({"templates": templates, "context": context}), capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        files = {name: text for name, text in json.loads(done.stdout).items() if name.endswith(".yaml")}
        objects = [found for text in files.values() for found in yaml.safe_load_all(text) if found]
        return {(found["kind"], found["metadata"]["name"]): found for found in objects}

    return rendered


def merged(values: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """As Helm merges values: mappings into each other, all else anew."""
    both = {key: merged(values[key], given[key]) for key in given if isinstance(values.get(key), dict) and given[key]}
    return {**values, **given, **both}


@pytest.fixture(params=[SAID, MORE], ids=["least", "more"])
def objects(request: pytest.FixtureRequest, render: Render) -> Objects:
    return render(request.param)


def pods(objects: Objects) -> Iterator[tuple[str, Any]]:
    for (kind, name), found in objects.items():
        if kind in ("Deployment", "StatefulSet"):
            yield name, found["spec"]["template"]["spec"]


def test_kubernetes_takes_every_object(objects: Objects) -> None:
    judged = [found for (kind, _), found in objects.items() if kind != "ScaledObject"]  # whose schema is KEDA's
    assert len(judged) > 8
    for found in judged:
        kubernetes_validate.validate(found, KUBERNETES, strict=True)


def test_selectors_find_their_pods(objects: Objects) -> None:
    labels = [
        found["spec"]["template"]["metadata"]["labels"]
        for (kind, _), found in objects.items()
        if kind in ("Deployment", "StatefulSet")
    ]
    for (kind, name), found in objects.items():
        if kind in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
            wanted = found["spec"]["selector"]["matchLabels"]
        elif kind == "NetworkPolicy":
            wanted = found["spec"]["podSelector"]["matchLabels"]
        elif kind == "Service":
            wanted = found["spec"]["selector"]
        else:
            continue
        selected = [each for each in labels if wanted.items() <= each.items()]
        assert selected, (kind, name)
        assert len({each["app.kubernetes.io/component"] for each in selected}) == 1, (kind, name)


def test_each_fleet_yaml_is_one(objects: Objects, tmp_path: Path) -> None:
    maps = {name: found["data"] for (kind, name), found in objects.items() if kind == "ConfigMap"}
    for name, data in maps.items():
        (tmp_path / "fleet.yaml").write_text(data["fleet.yaml"])
        settings = load(tmp_path / "fleet.yaml")
        assert settings.storage.bucket == "pictures"
        if "-agent-" in name:
            check_agent(settings, objects["StatefulSet", name]["spec"]["template"]["spec"], data)


def check_agent(settings: Settings, pod: Any, data: Mapping[str, str]) -> None:
    [entry] = settings.workers
    assert entry.lock is not None
    assert data[entry.lock.name] == LOCK
    assert len(entry.worker_ids) == pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
    assert settings.agent_listen == f"0.0.0.0:{pod['containers'][0]['ports'][0]['containerPort']}"
    assert settings.drain_s < pod["terminationGracePeriodSeconds"]


def test_no_pod_is_given_more_than_it_needs(objects: Objects) -> None:
    for name, pod in pods(objects):
        assert pod["securityContext"]["runAsNonRoot"], name
        assert not pod["automountServiceAccountToken"], name
        assert not pod["enableServiceLinks"], name  # they would look like settings of ours
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name


def test_its_own_redis_keeps_what_was_accepted(render: Render) -> None:
    [container] = dict(pods(render(SAID)))["fleet-redis"]["containers"]
    given = dict(zip(container["args"][1::2], container["args"][2::2], strict=True))
    assert given.items() >= {f"--{key}": value for key, value in DURABLE.items()}.items()


def test_a_redis_that_is_there_is_used(render: Render) -> None:
    objects = render(MORE)
    assert not [name for kind, name in objects if "redis" in name]
    config = yaml.safe_load(objects["ConfigMap", "fleet-controller"]["data"]["fleet.yaml"])
    assert config["redis"]["url"] == "rediss://redis.example:6379/3"


def test_only_what_scales_itself_has_no_number_of_replicas(render: Render) -> None:
    objects = render(MORE)
    scaled = objects["ScaledObject", "fleet-agent-video"]["spec"]
    assert scaled["scaleTargetRef"] == {"kind": "StatefulSet", "name": "fleet-agent-video"}
    [trigger] = scaled["triggers"]
    assert trigger["metadata"]["query"] == 'max(comfyfleet_pool_desired_workers{pool="video"})'
    assert "replicas" not in objects["StatefulSet", "fleet-agent-video"]["spec"]
    assert objects["StatefulSet", "fleet-agent-default"]["spec"]["replicas"] == 1
    assert ("ScaledObject", "fleet-agent-default") not in objects


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"agents": SAID["agents"]}, "storage.bucket"),
        (SAID | {"storage": {"kind": "local"}}, "storage.kind has to be s3"),
        ({"storage": SAID["storage"]}, "--set-file agents.default.lock=FILE"),
    ],
)
def test_what_is_missing_is_named(render: Render, values: Mapping[str, Any], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        render(values)
