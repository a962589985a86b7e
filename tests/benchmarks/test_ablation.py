"""benchmarks/ablation.py and forgetting.py: arms mean what they say, are judged on the same rows, and are not run twice."""

from __future__ import annotations

import dataclasses
import json
import runpy
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from support.paths import ROOT

from p5t5.checkpoint.creation import create_checkpoint
from p5t5.core.errors import UserError
from p5t5.data.records.loading import load, load_records
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import leave_one_out
from p5t5.evaluation.results import Measured
from p5t5.metrics.intervals import paired_bootstrap
from p5t5.text.prompts import load_prompts
from p5t5.training.options import TrainOptions
from p5t5.workflows.finetune import FinetuneOptions
from p5t5.workflows.model_setup import StartOptions
from p5t5.workflows.pretrain import PretrainOptions

sys.path.insert(0, str(ROOT / "benchmarks"))
import ablation
import forgetting

FILES = sorted((ROOT / "configs" / "ablations").glob("*.yaml"))
NEXT = "sequential/next_item"
RATES = {NEXT: 1, "sequential/continue": 4, "rating/score": 2}


def options_of(*kinds) -> set[str]:
    return {field.name for kind in kinds for field in dataclasses.fields(kind)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_shipped_arms_name_options_that_exist_and_differ(path):
    arms = ablation.arms_of(path)
    known = options_of(StartOptions, FinetuneOptions, TrainOptions)
    for arm in arms:
        assert set(arm.options) <= known and arm.options["tasks"], arm.name
        assert set(arm.pretrain or {}) <= options_of(StartOptions, PretrainOptions, TrainOptions), arm.name
    assert len({arm.stem(0) for arm in arms}) == len(arms)
    changed = [arm.name for arm in arms[1:] if arm.digest == arms[0].digest]
    assert changed in ([], ["without soft targets"])  # of a recipe that has none yet


def test_tasks_are_added_left_out_and_kept():
    def chosen(**arm):
        return ablation.chosen_tasks(RATES, arm, "arm")

    assert chosen() == RATES
    assert chosen(without=["sequential/continue"]) == {NEXT: 1, "rating/score": 2}
    assert chosen(families=["sequential"]) == {NEXT: 1, "sequential/continue": 4}
    assert chosen(tasks={"rating/score": 0.5, "direct/choose": 1})["direct/choose"] == 1
    with pytest.raises(UserError, match="no task or family 'review'"):
        chosen(without=["review"])


def test_arms_are_the_recipe_with_one_thing_changed(tmp_path):
    recipe = {
        "tasks": RATES,
        "dropout": 0.1,
        "loss_weights": {"rating/score": 0.5},
        "soft_targets": {NEXT: 0.5},
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    (tmp_path / "p.yaml").write_text("density: 0.3")

    def arms(*listed):
        path = tmp_path / "arms.yaml"
        path.write_text(yaml.safe_dump({"recipe": "r.yaml", "arms": list(listed)}))
        return ablation.arms_of(path, tmp_path)

    full, dropped, rating, pretrained = arms(
        {"name": "full"},
        {"name": "more", "set": {"dropout": 0.3}},
        {"name": "rating", "families": ["rating"]},
        {"name": "pre", "pretrain": "p.yaml"},
    )
    assert full.options == recipe and full.pretrain is None
    assert dropped.options == {**recipe, "dropout": 0.3}
    assert rating.options == {**recipe, "tasks": {"rating/score": 2}, "soft_targets": {}}
    assert pretrained.options == recipe and pretrained.pretrain == {"density": 0.3}
    assert len({arm.digest for arm in (full, dropped, rating, pretrained)}) == 4
    with pytest.raises(UserError, match=r"\['option'\]"):
        arms({"name": "a", "option": 1})
    with pytest.raises(UserError, match="two arms are called 'a'"):
        arms({"name": "a"}, {"name": "a"})


def one(values, rows=(2, 5, 9)) -> Measured:
    rows = np.array(rows)
    return Measured("p5t5", NEXT, "seen", "filtered", rows, rows // 2, {"ndcg@10": np.array(values, float)})


def run(values, **more) -> ablation.Run:
    return ablation.Run([one(values, **more)], {"minutes": 2.0, "steps": 10, "parameters": 7})


def test_arms_are_paired_on_the_seeds_that_both_have():
    runs = {
        "full": {0: run([0, 1, 0.5]), 1: run([1, 1, 0.5])},
        "less": {0: run([0, 0, 0.5]), 2: run([1, 1, 1])},
        "alone": {3: run([1, 0, 0])},
    }
    full, less, alone = ablation.lines(runs, "full")
    assert (full["value"], full["seeds"], full["difference"]) == (
        pytest.approx(2 / 3, abs=1e-6),
        [0, 1],
        None,
    )
    expected = paired_bootstrap(np.array([0, 0, 0.5]), np.array([0, 1, 0.5]), 0, users=np.array([1, 2, 4]))
    assert less["value"] == pytest.approx((0.5 + 0.5 + 0.75) / 3, abs=1e-6)
    assert [less["difference"], *less["difference_ci95"]] == [round(value, 6) for value in expected]
    assert alone["against"] is None and alone["steps"] == 10
    with pytest.raises(UserError, match="not asked the same rows"):
        list(ablation.lines({"full": {0: run([0, 1, 0]), 1: run([0, 1, 0], rows=(2, 5, 8))}}, "full"))
    other = {"full": {0: run([0, 1, 0])}, "less": {0: run([0, 1, 0], rows=(2, 5, 8))}}
    with pytest.raises(UserError, match="'less' and 'full' were not asked the same rows"):
        list(ablation.lines(other, "full"))


def test_what_is_done_is_not_trained_again(tmp_path, monkeypatch):
    arguments = SimpleNamespace(work=str(tmp_path), minutes=1.0, share=0.25, asked=5, data="d", keep=False)
    hashes = {"d": "first"}
    arm, asked = ablation.Arm("full model", {"dropout": 0.1}), []

    def train(arm, seed, arguments, folder):
        asked.append((arm.name, seed))
        folder.mkdir()
        return folder

    monkeypatch.setattr(ablation, "train", train)
    monkeypatch.setattr(ablation, "hash_of", hashes.__getitem__)
    monkeypatch.setattr(ablation, "judged", lambda *given: ([one([0, 1, 0.5])], {"steps": 3}))
    first = ablation.run_of(arm, 0, arguments)
    again = ablation.run_of(arm, 0, arguments)
    assert asked == [("full model", 0)] and again.about == first.about and again.about["steps"] == 3
    assert np.array_equal(again.measured[0].values["ndcg@10"], [0, 1, 0.5])
    assert [path.name for path in tmp_path.iterdir()] == ["full-model.seed0.values.parquet"]
    ablation.run_of(arm, 1, arguments)
    ablation.run_of(dataclasses.replace(arm, options={"dropout": 0.2}), 0, arguments)
    arguments.minutes = 2.0
    ablation.run_of(arm, 1, arguments)
    assert len(asked) == 4
    hashes["d"] = "prepared anew"
    ablation.run_of(arm, 1, arguments)
    arguments.share = 0.5
    ablation.run_of(arm, 1, arguments)  # which no pretraining gets
    assert len(asked) == 5
    pretrained = dataclasses.replace(arm, pretrain={})
    for arguments.share in (0.5, 0.5, 0.25):
        ablation.run_of(pretrained, 1, arguments)
    assert len(asked) == 7


def test_an_arm_that_cannot_be_trained_says_why_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    simulate(users=40, items=60).records.write(tmp_path / "data")
    (tmp_path / "r.yaml").write_text(f"tasks: {{{NEXT}: 1}}\nvocabulary_size: 400\ncheckpoint_every: 0\n")
    listed = [{"name": "full"}, {"name": "broken", "set": {"no_option": 1}}]
    (tmp_path / "arms.yaml").write_text(yaml.safe_dump({"recipe": "r.yaml", "arms": listed}))
    monkeypatch.setattr(ablation, "arms_of", lambda path, arms_of=ablation.arms_of: arms_of(path, tmp_path))
    out = tmp_path / "ablation-shop.jsonl"
    words = f"--data {tmp_path}/data --arms {tmp_path}/arms.yaml --minutes 0.02 --asked 9 --work {tmp_path}/work --out {out}"
    monkeypatch.setattr(sys, "argv", ["ablation.py", *words.split()])
    ablation.main()
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("full, seed 0: ndcg@10 filtered ")
    assert told[1].startswith("broken, seed 0, is left out: p5t5 finetune failed") and "no_option" in told[1]
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(line["arm"], line["protocol"], line["n"]) for line in lines] == [
        ("full", "filtered", 9), ("full", "unfiltered", 9)
    ]  # fmt: skip


def test_the_table_of_arms():
    table = runpy.run_path(str(ROOT / "scripts" / "readme_tables.py"))["arms_table"]
    runs = {"full": {0: run([0, 1, 0.5])}, "less": {0: run([0, 0, 0.5])}}
    lines = list(ablation.lines(runs, "full"))
    lines[1]["difference_ci95"] = [-0.5, -0.1]
    assert table(lines).splitlines() == [
        "| arm | seeds | minutes | sequential/next_item filtered ndcg@10 |",
        "| --- | --- | --- | --- |",
        "| full | 1 | 2 | 0.5000 |",
        "| less | 1 | 2 | 0.1667 (**-0.3333 [-0.5000, -0.1000]**) |",
    ]


def test_the_old_data_are_the_first_by_time(tmp_path):
    records = simulate(users=40, items=60, seed=3).records
    old = forgetting.older(records, 0.7)
    times, kept = (table["timestamp"].to_numpy() for table in (records.interactions, old.interactions))
    until = kept.max()
    assert (times <= until).sum() == len(kept) and 0.7 * len(times) <= len(kept) < 0.75 * len(times)
    assert set(old.items["item_id"]) == set(old.interactions["item_id"])
    timeless = dataclasses.replace(records, interactions=records.interactions.drop(columns="timestamp"))
    with pytest.raises(UserError, match="has no times"):
        forgetting.older(timeless, 0.7)


def test_before_and_after_an_update_are_asked_the_same_rows(tmp_path, monkeypatch, capsys):
    simulate(users=60, items=60, seed=3).records.write(tmp_path / "data")
    old = forgetting.older(load_records(tmp_path / "data"), 0.7)
    old.write(tmp_path / "old")
    split = leave_one_out(load(tmp_path / "old"))
    checkpoint = create_checkpoint(split, load_prompts(), vocabulary_size=500, user_identifiers="none")
    checkpoint.info = checkpoint.info.copy(tasks=[NEXT], trained=[checkpoint.info.data])
    checkpoint.save(tmp_path / "model")
    out = tmp_path / "lines.jsonl"
    words = f"--data {tmp_path}/data --share 0.7 --model {tmp_path}/model --recipe none --update_minutes 0.02 --out {out}"
    monkeypatch.setattr(sys, "argv", ["forgetting.py", *words.split(), "--replay", "0.5"])
    forgetting.main()
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    kinds = {line["protocol"] for line in lines}
    assert {"filtered, new rows"} <= kinds and {line["arm"] for line in lines} == {"before", "replay 0.5"}
    for kind in kinds:
        before, after = [line for line in lines if line["protocol"] == kind]
        assert before["n"] == after["n"] and before["difference"] is None
        assert after["difference"] == pytest.approx(after["value"] - before["value"], abs=2e-6)
