"""The benchmarks of what a run survives and needs: a few trials of them pass."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

from p5t5.cli.main import main

pytestmark = pytest.mark.timeout(900)  # some ten seconds of work, but a busy machine may stretch it


def lines(script: str, *arguments: str) -> list[dict]:
    command = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=840, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives up root to meet a folder that it can't write")
def test_a_few_faults_are_survived():
    cases = ["kills", "full_disk", "read_only"]
    found = lines("faults.py", "--quick", *[word for case in cases for word in ("--case", case)])
    assert [(line["case"], line["value"]) for line in found] == [(case, 1.0) for case in cases]
    assert found[0]["detail"]["kills"] == 8


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from /proc")
def test_memory_is_told(tmp_path):
    assert main(f"prepare simulated --users 60 --items 160 --out {tmp_path}".split()) == 0
    peak, flatness = lines("memory.py", "--data", str(tmp_path), "--epochs", "3", "--trained", "50")
    assert 100 < peak["value"] < 5000 and len(peak["detail"]["peak_of_each_epoch_mib"]) == 3
    assert 0.8 < flatness["value"] < 1.2


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from /proc")
def test_a_large_shop_is_prepared_planned_and_started():
    (line,) = lines("memory.py", "--case", "large", "--interactions", "3000", "--steps", "1")
    assert line["case"] == "large_peak" and line["detail"]["examples_an_epoch"] > 2000
    assert list(line["detail"]["stages"])[-2:] == ["epoch rendered", "planned and started"]
