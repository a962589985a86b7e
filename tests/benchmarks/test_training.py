"""The training benchmark runs: its toy size compares losses and ids as the full one does, only the times mean nothing."""

import json
import math
import subprocess
import sys
from types import SimpleNamespace

from support.paths import ROOT

SCRIPT = ROOT / "benchmarks" / "training.py"
CASES = ["finetune_default", "denoise_collator", "denoise_step", "render", "gemm_share_tiny"]


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(SCRIPT), "--quick", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=280)


def test_every_case_prints_one_line():
    done = run(*[word for case in CASES for word in ("--case", case)])
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["case"] for line in lines] == CASES
    for line in lines:
        assert set(line) == {"case", "value", "detail"} and math.isfinite(line["value"])
        assert line["detail"]["threads"] == 1 and line["detail"]["quick"]
    assert lines[0]["detail"]["mixed"] is True


def test_an_unknown_case_is_named():
    done = run("--case", "finetune")
    assert done.returncode == 2 and "no case 'finetune'; there are finetune_default" in done.stderr


def test_lines_are_added_to_a_file_and_not_measured_again(tmp_path):
    out = tmp_path / "lines.jsonl"
    for cases in (["render"], ["render", "denoise_collator"]):
        done = run("--out", str(out), *[word for case in cases for word in ("--case", case)])
        assert done.returncode == 0, done.stderr[-2000:]
    assert [json.loads(line)["case"] for line in out.read_text().splitlines()] == cases
    assert [json.loads(line)["case"] for line in done.stdout.splitlines()] == cases[1:]


def test_a_line_of_other_data_threads_or_size_is_not_the_same_measurement(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")  # which main sets for its process
    import training

    out, hashes = tmp_path / "lines.jsonl", ["first"]
    monkeypatch.setattr(training, "cases", lambda world: {"render": lambda: (1.0, {})})
    monkeypatch.setattr(training.torch, "set_num_threads", lambda number: None)

    def world(data, size):
        return SimpleNamespace(data=SimpleNamespace(name="d", hash=hashes[-1]), size=size)

    def lines(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["training.py", "--out", str(out), *words])
        training.main()
        return len(capsys.readouterr().out.splitlines())

    monkeypatch.setattr(training, "World", world)
    given = [[], [], ["--threads", "2"], ["--quick"], ["--quick"], []]
    assert [lines(*words) for words in given] == [1, 0, 1, 1, 0, 0]
    hashes.append("prepared anew")
    assert lines() == 1
