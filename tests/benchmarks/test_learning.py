"""The benchmarks of learning: they run in seconds, and a tiny model leaves the popularity plateau."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from support.paths import ROOT

from p5t5.checkpoint.checkpoint import Checkpoint
from p5t5.cli.main import main as p5t5
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import leave_one_out
from p5t5.evaluation.evaluate import evaluate_checkpoint

BENCHMARKS = ROOT / "benchmarks"


def run(script: str, *arguments: str) -> list[dict]:
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"case"')]


def test_families_judges_all_five_between_constant_and_optimum(tmp_path):
    out = tmp_path / "rows.json"
    lines = run("families.py", "--minutes", "0.1", "--users", "60", "--asked", "30", "--out", str(out))
    assert {line["case"].split("/")[0] for line in lines} == {
        "rating",
        "sequential",
        "explanation",
        "review",
        "direct",
    }
    for line in lines:
        detail, rmse = line["detail"], line["case"].endswith("rmse")
        way = (detail["ours"] - detail["constant"]) / (detail["optimum"] - detail["constant"])
        assert line["value"] == pytest.approx(way, abs=1e-3)
        assert (detail["optimum"] < detail["constant"]) == rmse
    assert json.loads(out.read_text())


def test_pretraining_compares_both_arms_seed_by_seed(tmp_path):
    simulate(users=40).records.write(tmp_path / "data")
    out = tmp_path / "rows.json"
    lines = run(
        "pretraining.py",
        *("--data", str(tmp_path / "data"), "--minutes", "0.05", "--seeds", "0", "--out", str(out)),
    )
    assert [line["case"] for line in lines] == ["sequential/next_item ndcg@10", "rating/score rmse"]
    variants = {row["variant"] for row in json.loads(out.read_text())}
    assert variants == {"with_pretraining", "without_pretraining"}


def test_ten_minutes_tells_each_run_once(tmp_path):
    simulate(users=40).records.write(tmp_path / "data")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("tasks: {sequential/next_item: 1, rating/score: 1}\nvocabulary_size: 400\n")
    shared = (
        "--data",
        str(tmp_path / "data"),
        "--recipe",
        str(recipe),
        "--out",
        str(tmp_path / "lines.jsonl"),
    )
    short = ("--minutes", "0.03", "--models", "tiny", "--asked", "10")
    first, second = run("ten_minutes.py", *shared, *short, "--optimizers", "scaled:0.01", "adafactor")
    assert (first["detail"]["optimizer"], first["detail"]["rate"]) == ("scaled", 0.01)
    assert first["detail"]["seconds"] > first["detail"]["prepared_seconds"] >= 0
    assert second["detail"]["rmse"] > 0 and 0 <= second["value"] <= 1 and second["detail"]["steps"] > 0
    kept = ("--keep", str(tmp_path / "kept"))
    (third,) = run("ten_minutes.py", *shared, *short, *kept, "--optimizers", "adafactor", "adamw")
    assert third["detail"]["optimizer"] == "adamw"
    (folder,) = (tmp_path / "kept").iterdir()
    assert Checkpoint.load(folder).info.stages[-1]["steps"] == third["detail"]["steps"]
    assert len((tmp_path / "lines.jsonl").read_text().splitlines()) == 3


def test_a_tiny_model_learns_what_follows_what(tmp_path):
    """Popularity gives .16, the optimum is .52: only who reads the last item gets near it."""
    simulated = simulate(users=1000)
    simulated.records.write(tmp_path / "data")
    options = "--vocabulary_size 600 --dropout 0 --token_budget 1024 --max_steps 400 --checkpoint_every 0"
    train = f"finetune --tasks sequential/next_item=1 --data {tmp_path / 'data'} --out {tmp_path / 'model'}"
    assert p5t5([*train.split(), *options.split(), "--eval_every", "400"]) == 0
    found = evaluate_checkpoint(
        Checkpoint.load(tmp_path / "model"),
        leave_one_out(simulated.data),
        prompts=("seen", "held_out"),
        protocols=("filtered",),
        progress=False,
    )
    for row in found.rows:
        if row["metric"] == "ndcg@10":
            assert row["value"] > 0.25, row
