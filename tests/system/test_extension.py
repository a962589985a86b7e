"""A new task, source, identifier scheme and baseline: one file each, one line in one list each, and the whole way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.toys import baseline, identifiers, source, task

from p5t5.baselines.registry import RANKERS
from p5t5.cli.main import main
from p5t5.data.build import SOURCES
from p5t5.identifiers.methods import METHODS
from p5t5.recommender import Recommender
from p5t5.tasks.registry import TASKS

PROMPTS = Path(task.__file__).with_name("prompts.yaml")
EARLY = task.Early.name


@pytest.fixture(scope="module")
def extended():
    """p5t5 with one more of each kind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SOURCES, "pipes", source.SOURCE)
        patch.setitem(TASKS, EARLY, task.Early())
        patch.setitem(METHODS, "octal", identifiers)
        RANKERS.append(baseline.Neighbour)
        yield
        RANKERS.remove(baseline.Neighbour)


@pytest.fixture(scope="module")
def way(extended, tmp_path_factory) -> Path:
    """prepare → finetune → evaluate with a fusion → report."""
    folder = tmp_path_factory.mktemp("extended")
    draw = np.random.default_rng(0)
    lines = []
    for user in range(40):
        start = draw.integers(0, 20)
        for step in range(6):  # users go along the shelf
            item = (start + step) % 24
            lines.append(f"u{user}|i{item:02d}|Thing {chr(65 + item)}|{draw.integers(1, 6)}")
    (folder / "shop.txt").write_text("\n".join(lines))
    steps = [
        f"prepare pipes {folder}/shop.txt --out {folder}/data",
        f"finetune --data {folder}/data --out {folder}/model --prompts {PROMPTS} --item_identifiers octal "
        f"--user_identifiers octal --tasks {EARLY}=1,sequential/next_item=1 --max_steps 60 --token_budget 2048 "
        "--checkpoint_every 0",
        f"evaluate --data {folder}/data --model {folder}/model --out {folder}/results.json --fusion true",
        f"report --results {folder}/results.json --data {folder}/data --model {folder}/model "
        f"--out {folder}/report.html",
    ]
    for step in steps:
        assert main(step.split()) == 0, step
    return folder


@pytest.mark.slow
def test_they_are_measured_and_shown(way):
    rows = json.loads((way / "results.json").read_text())
    measured = {(row["model"], row["task"], row["metric"]) for row in rows}
    assert {("p5t5", EARLY, "accuracy"), ("majority", EARLY, "accuracy")} <= measured
    assert ("shelf_neighbour", "sequential/next_item", "ndcg@10") in measured
    assert ("p5t5+fusion", "sequential/next_item", "ndcg@10") in measured
    assert "shelf_neighbour" in json.loads((way / "model" / "fusion.json").read_text())["parts"]
    page, card = (way / "report.html").read_text(), (way / "model" / "README.md").read_text()
    assert EARLY in page and "shelf_neighbour" in page
    assert f"| {EARLY} | choice | accuracy |" in card


@pytest.mark.slow
def test_people_can_ask_them(way):
    rec = Recommender.from_pretrained(way / "model")
    assert rec.checkpoint.info.identifiers["item"]["method"] == "octal"
    answer = rec("Does item Thing C stand on the early shelf of the shop?")
    assert (answer.task, answer.prompt) == (EARLY, "early-1") and answer.text in ("yes", "no")
    best = rec.recommend(["Thing A", "Thing B"], k=3)
    assert len({item.item_id for item in best}) == 3 and not {"i00", "i01"} & {item.item_id for item in best}
