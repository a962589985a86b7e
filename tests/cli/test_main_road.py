"""The whole road on simulated data, through the commands that people type; and their mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.paths import ROOT
from support.quick_texts import quick_texts

import p5t5
from p5t5.cli.main import COMMANDS, main
from p5t5.evaluation.example_values import read_example_values
from p5t5.evaluation.results import find
from p5t5.reporting.results_text import verdicts
from p5t5.text.prompts import dump_prompts, load_prompts

SHORT = ["--max_steps", "12", "--token_budget", "2048", "--checkpoint_every", "0"]


@pytest.fixture(scope="module")
def road(tmp_path_factory) -> Path:
    """prepare → pretrain → finetune → evaluate → report, a few steps each."""
    folder = tmp_path_factory.mktemp("road")
    data, pretrained, model = folder / "data", folder / "pretrained", folder / "model"
    steps = [
        f"prepare simulated --users 60 --items 160 --out {data}",
        f"pretrain --data {data} --out {pretrained} {' '.join(SHORT)}",
        f"finetune --data {data} --model {pretrained} --out {model} --epoch_size 500 --evaluations 2 {' '.join(SHORT)}",
        f"evaluate --data {data} --model {model} --out {folder}/results.json --values true",
        f"report --results {folder}/results.json --data {data} --model {model} --pretrained {pretrained} "
        f"--out {folder}/report.html",
    ]
    for step in steps:
        with quick_texts():
            assert main(step.split()) == 0, step
    return folder


def test_texts_for_many_are_announced(road, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("p5t5.workflows.evaluate.MAX_TEXT_USERS", 3)
    ask = f"evaluate --data {road}/data --model {road}/model --tasks review/headline --baselines false"
    for limit, said in ((0, 1), (2, 0)):
        assert main(f"{ask} --prompts seen --limit {limit} --out {tmp_path}/r.json".split()) == 0
        told = capsys.readouterr().out
        assert told.count("60 rows get texts in 1 tasks: this takes long. --limit 3 asks") == said


def test_road_leaves_what_it_promises(road):
    for name in ("results.json", "results.comparisons.json", "results.samples.json", "report.html"):
        assert (road / name).stat().st_size > 100, name
    names = {path.name for path in (road / "model").iterdir()}
    assert names >= {
        "config.json", "model.safetensors", "tokenizer.json", "generation_config.json", "catalogue.parquet",
        "prompts.yaml", "p5t5.json", "README.md", "results.json", "metrics.jsonl",
    }  # fmt: skip
    assert not [name for name in names if name.endswith((".pkl", ".pt", ".bin", ".tmp"))]
    assert not list(road.glob("**/.saving-*"))


def test_results_cover_all_families_beside_baselines(road):
    rows = json.loads((road / "results.json").read_text())
    ours = {row["family"] for row in rows if row["model"] == "p5t5"}
    assert ours == {"rating", "sequential", "explanation", "review", "direct"}
    assert {"popularity", "count_floor", "bias", "global_mean", "mf"} <= {row["model"] for row in rows}
    assert {row["prompt"] for row in rows if row["model"] == "p5t5"} == {"seen", "held_out"}
    users = {
        row["n"] for row in rows if row["task"] == "sequential/next_item" and row["protocol"] == "filtered"
    }
    assert users == {60}, "every prediction is counted"


def test_values_behind_the_rows_are_kept_where_asked_for(road):
    measured, about = read_example_values(road / "results.values.parquet")
    rows = json.loads((road / "results.json").read_text())
    for one in measured:
        if one.task == "sequential/next_item":
            key = {name: getattr(one, name) for name in ("model", "task", "prompt", "protocol")}
            row = find(rows, **key, metric="ndcg@10")
            assert (
                row["value"] == pytest.approx(one.values["ndcg@10"].mean(), abs=1e-6) and len(one.rows) == 60
            )
    assert {"p5t5", "popularity"} <= {one.model for one in measured}
    assert about["parameters"] > 10_000 and about["seconds"] > 0 and about["part"] == "test"


def test_stages_are_told_in_the_checkpoint_and_its_card(road):
    info = json.loads((road / "model" / "p5t5.json").read_text())
    assert [stage["stage"] for stage in info["stages"]] == ["pretrain", "finetune"]
    card = (road / "model" / "README.md").read_text()
    assert "sequential/next_item" in card and "$" not in card


def test_fine_tuning_changes_the_pretrained_weights_and_keeps_its_tokens(road):
    from safetensors.torch import load_file

    before, after = (load_file(road / name / "model.safetensors") for name in ("pretrained", "model"))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    tokenizers = [(road / name / "tokenizer.json").read_text() for name in ("pretrained", "model")]
    assert tokenizers[0] == tokenizers[1]


def test_recipes_are_read_from_yaml_and_the_command_line_wins(road, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"data: {road / 'data'}\nmax_steps: 3\ntasks:\n  rating/score: 1\nepoch_size: 50\nmetric: rmse\n"
    )
    out = tmp_path / "out"
    assert main(["finetune", "--config", str(recipe), "--out", str(out), "--max_steps", "2"]) == 0
    info = json.loads((out / "p5t5.json").read_text())
    assert info["tasks"] == ["rating/score"] and info["stages"][0]["steps"] == 2


@pytest.mark.parametrize(
    "recipe", sorted(Path(ROOT / "configs" / "recipes").glob("*.yaml")), ids=lambda p: p.stem
)
def test_shipped_recipes_run(recipe, road, tmp_path):
    command = "pretrain" if "pretrain" in recipe.stem else "finetune"
    more = [
        "--max_steps",
        "2",
        "--data",
        str(road / "data"),
        "--out",
        str(tmp_path),
        "--checkpoint_every",
        "0",
    ]
    assert main([command, "--config", str(recipe), *more]) == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert f"p5t5 {command}" in text and "example" in text


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("nonsense", "no command"),
        ("pretrain --data {road}/nowhere --out {tmp}/x", "nowhere"),
        ("pretrain --data {road}/data --out {tmp}/x --model enormous", "enormous"),
        ("pretrain --data {road}/data --out {tmp}/x --item_identifiers mystic", "mystic"),
        ("pretrain --data {road}/data --out {tmp}/x --corpus songs", "songs"),
        ("pretrain --data {road}/data --out {tmp}/x --split sideways", "sideways"),
        ("finetune --data {road}/data --out {tmp}/x --tasks rating/guess=1", "rating/guess"),
        ("finetune --data {road}/data --out {tmp}/x --tasks rating=many", "many"),
        ("finetune --data {road}/data --out {tmp}/x --prompts {road}/data", "prompt"),
        ("finetune --data {road}/data --out {tmp}/x --config {tmp}/no.yaml", "no.yaml"),
        ("finetune --data {road}/data --out {tmp}/x --model {road}/model --split temporal", "split"),
        ("evaluate --data {road}/data --model {road}/data --out {tmp}/r.json", "checkpoint"),
        ("evaluate --data {road}/data --model {road}/model --out {tmp}/r.json --part future", "future"),
        (
            "evaluate --data {road}/data --model {road}/model --out {tmp}/r.json --tasks rating/guess",
            "rating/guess",
        ),
        ("finetune --data {road}/data --out {tmp}/x --metric hr@3 --tasks rating/score", "hr@3"),
        ("finetune --data {road}/data --out {tmp}/x --dropout 2", "--dropout"),
        ("finetune --data {road}/data --out {tmp}/x --max_history 0", "--max_history"),
        ("finetune --data {road}/data --out {tmp}/x --loss_weights rating/score=-1", "above 0"),
        ("finetune --data {road}/data --out {tmp}/x --validation_users -1", "negative"),
        ("pretrain --data {road}/data --out {tmp}/x --mean_span 0", "--mean_span"),
        ("pretrain --data {road}/data --out {tmp}/x --evaluations 3", "--evaluations has no effect"),
        (
            "finetune --data {road}/data --out {tmp}/x --model {road}/pretrained --max_history 5",
            "--max_history 5 has no effect: {road}/pretrained keeps 20",
        ),
        (
            "finetune --data {road}/data --out {tmp}/x --model {road}/pretrained --item_identifiers random",
            "--item_identifiers random has no effect",
        ),
        (
            "finetune --data {road}/data --out {tmp}/x --model {road}/pretrained --vocabulary_size 4000",
            "--vocabulary_size 4000 has no effect",
        ),
        (
            "finetune --data {road}/data --out {tmp}/x --model {road}/pretrained --prompts {tmp}/prompts",
            "--prompts {tmp}/prompts has no effect",
        ),
        ("evaluate --data {road}/data --model {road}/model --out {tmp}/r.json --limit -5", "at least 1"),
        ("report --results {road}/results.json --out {tmp}/r.html --model {road}/data", "p5t5.json"),
        ("evaluate --data {road}/data --model {road}/model --out {road}", "is a folder"),
        ("report --results {road}/results.json --out {tmp}/r.html --data {road}/model", "no data folder"),
        (
            "report --results {road}/results.json --out {tmp}/r.html --pretrained {road}/data",
            "no metrics.jsonl",
        ),
        ("prepare simulated --out {tmp}/x --usrs 9", "--usrs 9; see `p5t5 prepare simulated --help`"),
        ("report --results {road}/report.html --out {tmp}/r.html", "report.html"),
        ("report --results {road}/results.json --out {road}/data/prepare.json", "is not a p5t5 report"),
        ("report --results {road}/results.json --out {road}", "is a folder"),
    ],
)
def test_mistakes_get_one_line_and_code_2(line, says, road, tmp_path, capsys):
    capsys.readouterr()
    other_prompts(tmp_path / "prompts")
    assert main(line.format(road=road, tmp=tmp_path).split()) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert says.format(road=road, tmp=tmp_path) in error and "Traceback" not in error
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent.name != "prompts"]
    assert not written, f"half-written output: {written}"


def test_a_report_is_made_again(road, tmp_path):
    words = ["report", "--results", str(road / "results.json"), "--out"]
    assert main([*words, str(tmp_path / "r.html")]) == main([*words, str(tmp_path / "r.html")]) == 0
    (tmp_path / "mine.html").write_text("<p>mine</p>")
    assert main([*words, str(tmp_path / "mine.html")]) == 2
    assert main([*words, str(tmp_path / "mine.html"), "--overwrite"]) == 0


def other_prompts(folder: Path) -> None:
    """The prompts that come with p5t5, one word more."""
    folder.mkdir()
    first, *others = load_prompts()
    dump_prompts([replace(first, input=f"{first.input} now"), *others], folder / "prompts.yaml")


def test_an_option_that_says_what_the_model_has_is_no_mistake(road, tmp_path):
    more = ["--max_history", "20", "--item_identifiers", "atomic", "--prompts", str(ROOT / "prompts")]
    start = ["--data", str(road / "data"), "--model", str(road / "pretrained"), "--out", str(tmp_path)]
    assert main(["finetune", *start, *more, "--tasks", "rating/score", *SHORT]) == 0


def test_resume_refuses_another_stage_and_other_tasks(road, tmp_path, capsys):
    """Each checkpoint is at the end of an epoch, where the examples alone would tell nothing."""
    start = (
        f"--data {road}/data --model {road}/pretrained --out {tmp_path} --checkpoint_every 1 --max_steps 1"
    )
    tasks = "--tasks rating/score --epoch_size 10"
    assert main(f"finetune {start} {tasks}".split()) == 0
    for line, says in (
        (f"pretrain {start} --resume", "the stage finetune, not pretrain"),
        (f"finetune {start} --tasks rating/like --epoch_size 10 --resume", "--tasks {'rating/score': 1.0}"),
        (f"finetune {start} {tasks} --split temporal --resume", "--split"),
    ):
        capsys.readouterr()
        assert main(line.split()) == 2
        assert says in capsys.readouterr().err
    assert main(f"finetune {start} {tasks} --resume".split()) == 0


def test_an_unknown_option_is_named(road, capsys):
    for command in ("pretrain", "finetune", "evaluate", "report", "query", "recommend"):
        wrong = ["--data", "x", "--out", "y", "--model", "z", "--results", "r", "--colour", "red"]
        assert main([command, *wrong]) == 2
        error = capsys.readouterr().err
        assert "--colour" in error and error.count("\n") == 1, error


def test_version_and_usage(capsys):
    assert main(["--version"]) == 0 and p5t5.__version__ in capsys.readouterr().out
    assert main([]) == 0 and "prepare" in capsys.readouterr().out


def test_help_does_not_wait_for_torch():
    code = "import sys; from p5t5.cli.main import main; main([]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_verdicts_name_the_floor_and_the_strongest_baseline():
    keys = {"task": "review/score", "metric": "rmse", "protocol": "expected"}
    rows = [
        {**keys, "model": name, "value": value}
        for name, value in (("bias", 0.9), ("tfidf_ridge", 0.8), ("mf", 0.85))
    ]
    rows.append({**keys, "model": "p5t5", "value": 0.7})
    one = {
        **keys,
        "model": "p5t5",
        "prompt": "seen",
        "difference": -0.1,
        "ci95": [-0.2, -0.05],
        "better": True,
    }
    lines = verdicts(rows, [{**one, "against": name} for name in ("bias", "mf", "tfidf_ridge")])
    assert [line.split(" (")[0].split()[-1] for line in lines] == ["bias", "tfidf_ridge"]


def test_what_is_not_said_follows_the_data():
    """Users without ratings and with few interactions share tokens; dropout is for data with texts."""
    from p5t5.data.sources.simulated import simulate
    from p5t5.data.splits import leave_one_out
    from p5t5.workflows.model_setup import choose_user_identifiers, default_dropout, has_short_histories

    split = leave_one_out(simulate(users=60, items=80, seed=1).data)
    bare = replace(split, data=replace(split.data, rating=None, texts={}))
    assert (
        choose_user_identifiers("auto", bare) == "collaborative"
        and choose_user_identifiers("atomic", bare) == "atomic"
    )
    assert choose_user_identifiers("auto", split) == "atomic"
    long = leave_one_out(simulate(users=10, items=400, seed=1, shortest=30, longest=40).data)
    assert has_short_histories(split) and not has_short_histories(long)
    assert default_dropout(bare) == 0.0 and default_dropout(split) == 0.1
