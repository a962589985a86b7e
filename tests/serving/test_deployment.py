"""The deployment examples name options, paths and ports that exist."""

from __future__ import annotations

import re
import shlex
import sys
import types
from dataclasses import fields

import pytest
import yaml
from support.paths import ROOT
from support.served import film_settings, save_films

from p5t5.core.errors import UserError
from p5t5.serving.app import app
from p5t5.serving.ray_app import build
from p5t5.serving.settings import Settings

OPTIONS = {f"--{field.name}" for field in fields(Settings)}
CONTAINER = (ROOT / "configs" / "container" / "Containerfile").read_text()
UNIT = (ROOT / "configs" / "systemd" / "p5t5.service").read_text()
KUBERNETES = list(yaml.safe_load_all((ROOT / "configs" / "kubernetes" / "p5t5.yaml").read_text()))
RAY = yaml.safe_load((ROOT / "configs" / "ray" / "serve.yaml").read_text())


def options_of(words: list[str]) -> set[str]:
    return {word for word in words if word.startswith("--")}


def test_every_option_exists():
    started = yaml.safe_load(CONTAINER.split("ENTRYPOINT", 1)[1])
    unit = shlex.split(re.search(r"ExecStart=(.*)", UNIT).group(1))
    pods = KUBERNETES[0]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert started[:2] == ["p5t5", "serve"] and unit[1] == "serve"
    assert options_of([*started, *unit, *pods]) <= OPTIONS
    assert set(RAY["applications"][0]["args"]) <= {field.name for field in fields(Settings)}


def test_paths_ports_and_times_fit(tmp_path):
    save_films(tmp_path)
    paths = {route.path for route in app(film_settings(tmp_path), key="").routes}
    pod = KUBERNETES[0]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    probes = [container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert {probe["path"] for probe in probes} <= paths
    assert "/health/ready" in CONTAINER and "EXPOSE 8000" in CONTAINER
    assert container["ports"][0]["containerPort"] == 8000
    drain = float(container["args"][container["args"].index("--drain") + 1])
    assert pod["terminationGracePeriodSeconds"] > drain
    assert RAY["applications"][0]["deployments"][0]["graceful_shutdown_timeout_s"] > Settings("x").drain
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {"/model", "/feedback"} <= mounted and KUBERNETES[1]["spec"]["selector"] == {"app": "p5t5"}


def test_files_that_the_image_copies_exist():
    for line in re.findall(r"^COPY (.*)$", CONTAINER, re.MULTILINE):
        for name in line.split()[:-1]:
            assert (ROOT / name).exists(), name
    assert "USER p5t5" in CONTAINER, "not as root"


def test_the_ray_application_is_the_same_factory(monkeypatch):
    made = {}
    serve = types.SimpleNamespace(
        ingress=lambda factory: lambda kind: made.setdefault("factory", factory) and kind,
        deployment=lambda **options: lambda kind: made.update(options) or types.SimpleNamespace(bind=lambda: "bound"),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(serve=serve))
    assert build({"model": "runs/x", "batch": 8}) == "bound"
    monkeypatch.setattr("p5t5.serving.ray_app.app", lambda settings: settings)
    assert made["factory"]() == Settings("runs/x", batch=8)
    assert made["name"] == RAY["applications"][0]["deployments"][0]["name"]
    with pytest.raises(UserError, match="no option 'modl'"):
        build({"modl": "x"})
