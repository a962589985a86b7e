"""`p5t5 doctor` says what is wrong and what to do, and fails only for what prevents p5t5 from working."""

from __future__ import annotations

import json

import pytest

from p5t5.cli.main import main
from p5t5.workflows import doctor as module
from p5t5.workflows.doctor import NOTE, OK, PROBLEM, doctor, works


def test_it_works_here_and_every_remark_says_what_to_do(tmp_path):
    findings = doctor(tmp_path / "not" / "yet")
    assert works(findings)
    names = [finding.name for finding in findings]
    assert {"python", "torch", "processor", "threads", "disk", "hub", "hub cache"} <= set(names)
    assert len(names) == len(set(names))
    assert all(finding.advice for finding in findings if finding.state != OK)
    assert next(finding for finding in findings if finding.name == "hub").found.startswith("offline")


@pytest.mark.parametrize(
    ("needed", "state", "told"),
    [
        ("no-such-package-anywhere>=1", PROBLEM, "not installed"), ("numpy>=999", PROBLEM, "but >=999 is needed"),
        ("numpy", OK, ""), ('no-such-package-anywhere; python_version < "3"', None, ""),
        ('no-such-package-anywhere; extra == "serve"', NOTE, "lacks no-such-package-anywhere"),
    ],
)  # fmt: skip
def test_missing_and_old_packages(needed, state, told, monkeypatch, capsys):
    monkeypatch.setattr(module.importlib.metadata, "requires", lambda _: [needed])
    monkeypatch.setattr(module, "_gpu", lambda: iter(()))
    code = main(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    about = [
        f for f in found["findings"] if f["name"] in ("no-such-package-anywhere", "numpy", "extra serve")
    ]
    assert [f["state"] for f in about] == ([] if state is None else [state])
    assert all(told in f["found"] for f in about)
    assert code == (state == PROBLEM) and found["works"] == (state != PROBLEM)


@pytest.mark.parametrize(
    ("said", "usable", "state", "told"),
    [
        ("", 2.0, NOTE, "OMP_NUM_THREADS=2"), ("4", 2.0, NOTE, "OMP_NUM_THREADS=2"), ("2", 2.0, OK, ""),
        ("many", 2.0, NOTE, "set it to 2"), ("1", 0.5, OK, ""), ("", 0.5, NOTE, "OMP_NUM_THREADS=1"), ("", 8.0, OK, ""),
    ],
)  # fmt: skip
def test_threads_against_cores(said, usable, state, told, monkeypatch):
    monkeypatch.setattr(module, "usable_cores", lambda: usable)
    monkeypatch.setattr(module.os, "cpu_count", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    (finding,) = module._threads()
    assert finding.state == state and told in finding.advice


def test_a_hub_out_of_reach_is_no_failure(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    cache, hub = module._hub()
    assert cache.state == OK and hub.state == NOTE and "cannot be reached" in hub.found


def test_it_is_said_line_by_line(capsys):
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "p5t5 works here." and all(line.split()[0] in ("ok", "note") for line in lines[:-1])
