"""The Python API: the same bytes as the command, options by keyword, and finished work that stays."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import p5t5
from p5t5.cli.main import main
from p5t5.core.files import sha256

QUICK = {"max_steps": 2, "token_budget": 1024, "epoch_size": 40, "checkpoint_every": 1, "evaluations": 1}
TASKS = {"rating/score": 1, "sequential/next_item": 2}


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    """data and a model made through the API."""
    folder = tmp_path_factory.mktemp("shop")
    p5t5.prepare("simulated", users=60, items=160, out=folder / "data")
    said: list[str] = []
    checkpoint = p5t5.finetune(
        folder / "data", "tiny", folder / "model", tasks=TASKS, validation_users=10, log=said.append, **QUICK
    )
    assert checkpoint.info.tasks == list(TASKS) and checkpoint.info.stages[-1]["steps"] == 2
    assert said[0].startswith("fine-tuned 2 steps on rating/score, sequential/next_item")
    return folder


@pytest.fixture
def copy(shop, tmp_path) -> Path:
    shutil.copytree(shop / "model", tmp_path / "model", ignore=shutil.ignore_patterns("fusion.*"))
    return tmp_path / "model"


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256(path) for path in folder.rglob("*") if path.is_file()}


def test_the_command_writes_the_same_bytes(shop, tmp_path, capsys):
    words = " ".join(f"--{name} {value}" for name, value in QUICK.items())
    line = f"finetune --data {shop}/data --out {tmp_path}/model --validation_users 10 {words}"
    assert main([*line.split(), "--tasks", "rating/score=1,sequential/next_item=2"]) == 0
    assert "fine-tuned 2 steps" in capsys.readouterr().out
    for name in ("model.safetensors", "tokenizer.json", "catalogue.parquet", "users.parquet", "prompts.yaml"):
        assert sha256(tmp_path / "model" / name) == sha256(shop / "model" / name), name


def test_importing_is_light():
    code = (
        "import sys, p5t5; assert p5t5.finetune and p5t5.prepare; "
        "assert sorted(set(p5t5.__all__) - set(vars(p5t5)) - set(p5t5._HOMES)) == []; "
        "sys.exit('torch' in sys.modules and 'p5t5.training.loop' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    code = "import sys, p5t5; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("name", ["pretrain", "finetune", "update", "evaluate", "recommend"])
def test_an_unknown_option_is_named_with_the_nearest(name):
    with pytest.raises(p5t5.UserError, match=rf"{name}\(\): there is no option 'dat_'. Did you mean data\?"):
        getattr(p5t5, name)("data", "model", "out", dat_=1)


def test_evaluate_returns_what_the_command_writes(shop, tmp_path, capsys):
    chosen = {"tasks": ["sequential/next_item"], "limit": 12, "protocols": "filtered"}
    found = p5t5.evaluate(shop / "data", shop / "model", tmp_path / "results.json", **chosen)
    assert capsys.readouterr().out == "", "functions print nothing"
    drop = {"seconds"}
    written = json.loads((tmp_path / "results.json").read_text())
    assert [{k: v for k, v in row.items() if k not in drop} for row in written] == [
        {k: v for k, v in row.items() if k not in drop} for row in found.rows
    ]
    assert json.loads((tmp_path / "results.comparisons.json").read_text()) == found.comparisons
    baselines = p5t5.evaluate(shop / "data", **chosen)
    assert {row["model"] for row in baselines.rows} < {row["model"] for row in found.rows}


def test_results_go_onto_results_only(shop, tmp_path):
    (tmp_path / "notes.json").write_text('{"my": "notes"}')
    with pytest.raises(p5t5.UserError, match="does not hold results"):
        p5t5.evaluate(shop / "data", out=tmp_path / "notes.json")
    assert (tmp_path / "notes.json").read_text() == '{"my": "notes"}'


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_recommend_returns_the_table_and_keeps_other_files(shop, tmp_path, suffix):
    users = pd.read_parquet(shop / "data" / "interactions.parquet")["user_id"].unique()[:2].tolist()
    out = tmp_path / f"top.{suffix}"
    for _ in range(2):  # its own file may be replaced
        table = p5t5.recommend(shop / "data", shop / "model", out, users=users, k=3)
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet}.get(suffix, lambda p: pd.read_json(p, lines=True))
    assert read(out)["rank"].tolist() == table["rank"].tolist() == [1, 2, 3] * 2
    assert table["user_id"].tolist() == [user for user in users for _ in range(3)]
    precious = tmp_path / f"precious.{suffix}"
    other = pd.DataFrame({"user_id": ["u"], "item_id": ["i"]})
    other.to_parquet(precious) if suffix == "parquet" else precious.write_text("user_id,item_id\nu,i\n")
    before = precious.read_bytes()
    with pytest.raises(p5t5.UserError, match="--overwrite"):
        p5t5.recommend(shop / "data", shop / "model", precious, users=users)
    assert precious.read_bytes() == before
    p5t5.recommend(shop / "data", shop / "model", precious, users=users, overwrite=True)


@pytest.mark.parametrize("name", ["pretrain", "finetune", "update"])
@pytest.mark.parametrize("extra", [(), ("results.json", "fusion.json")])
def test_training_onto_finished_work_is_refused_and_changes_nothing(shop, copy, name, extra):
    for file in extra:
        (copy / file).write_text("[]")
    shutil.rmtree(copy / "checkpoints")
    before = contents(copy)
    model = shop / "model" if name == "update" else "tiny"
    for more in ({}, {"resume": True}):  # there is nothing to resume from
        with pytest.raises(p5t5.UserError, match=r"p5t5 model \(p5t5.json\).*--overwrite"):
            getattr(p5t5, name)(shop / "data", model, copy, **more)
    assert contents(copy) == before


@pytest.mark.parametrize("mark", ["config.json", "model.safetensors", "results.json", "README.md"])
def test_other_work_is_not_trained_over(shop, tmp_path, mark):
    (tmp_path / mark).write_text("{}")
    with pytest.raises(p5t5.UserError, match=mark):
        p5t5.pretrain(shop / "data", "tiny", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [mark]


def test_a_model_never_goes_into_a_data_folder(shop, tmp_path):
    shutil.copytree(shop / "data", tmp_path / "data")
    for more in ({}, {"overwrite": True}, {"restart": True}, {"resume": True}):
        with pytest.raises(p5t5.UserError, match="data folder"):
            p5t5.finetune(shop / "data", "tiny", tmp_path / "data", **more)
    assert contents(tmp_path / "data") == contents(shop / "data")


def test_resume_and_overwrite_are_the_ways_on(shop, copy):
    chosen = {"tasks": TASKS, "validation_users": 10}
    with pytest.raises(p5t5.UserError, match=r"--resume, or replace it with --overwrite"):
        p5t5.finetune(shop / "data", "tiny", copy, **chosen, **QUICK)
    again = p5t5.finetune(shop / "data", "tiny", copy, **chosen, **{**QUICK, "max_steps": 3}, resume=True)
    assert again.info.stages[-1]["steps"] == 3
    (copy / "results.json").write_text("[]")
    p5t5.finetune(shop / "data", "tiny", copy, **chosen, **{**QUICK, "checkpoint_every": 0}, overwrite=True)
    assert sha256(copy / "model.safetensors") == sha256(shop / "model" / "model.safetensors")
    assert not (copy / "results.json").exists()


def test_saving_keeps_what_the_folder_has_more(shop, copy, tmp_path):
    recommender = p5t5.Recommender.from_pretrained(shop / "model", fusion=False)
    recommender.save_pretrained(copy)  # the same model: nothing is lost
    for name in ("results.json", "fusion.json"):
        (copy / name).write_text("[]")
    before = contents(copy)
    with pytest.raises(p5t5.UserError, match=r"results\.json, fusion\.json, which would be lost"):
        recommender.save_pretrained(copy)
    assert contents(copy) == before
    recommender.save_pretrained(copy, overwrite=True)
    assert not (copy / "results.json").exists()
    info = json.loads((copy / "p5t5.json").read_text())
    info["stages"][-1]["steps"] = 7
    (copy / "p5t5.json").write_text(json.dumps(info))
    with pytest.raises(p5t5.UserError, match=r"p5t5 model.*overwrite=True"):
        recommender.save_pretrained(copy)
    with pytest.raises(p5t5.UserError, match="a data folder"):
        recommender.save_pretrained(shop / "data")
    recommender.save_pretrained(tmp_path / "fresh")
