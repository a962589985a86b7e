"""The decoding benchmark runs: its toy size compares outputs as the full one does, only the times mean nothing."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

SCRIPT = ROOT / "benchmarks" / "decoding.py"
CASES = [
    "beam_fp32",
    "beam_bf16",
    "local_fp32",
    "local_bf16",
    "evaluation_loop",
    "exclusion",
    "exclusion_overhead",
    "candidates_naive",
    "candidates_encode_once",
    "trie_build",
    "trie_bytes",
    "constraint_step",
    "latency_p50",
    "scaling_items",
    "scaling_beams",
    "scaling_users",
]


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(SCRIPT), "--quick", "--threads", "1", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


def test_every_case_prints_one_line():
    done = run(*[word for case in CASES for word in ("--case", case)])
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["case"] for line in lines] == CASES
    for line in lines:
        assert set(line) == {"case", "value", "detail"} and math.isfinite(line["value"])
        assert line["detail"]["threads"] == 1


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from /proc")
def test_peak_memory_of_one_call():
    done = run("--peak", "ours", "4")
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 10_000_000


def test_an_unknown_case_is_named():
    done = run("--case", "beams")
    assert done.returncode == 2 and "no case 'beams'; there are beam_fp32" in done.stderr
