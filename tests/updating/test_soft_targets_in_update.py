"""`p5t5 update` goes on with the soft targets that the model was trained with, from training rows old and new."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from p5t5.checkpoint.checkpoint import Checkpoint
from p5t5.checkpoint.creation import create_checkpoint
from p5t5.cli.main import main
from p5t5.core.encoded import Encoded
from p5t5.data.records.loading import load, load_records
from p5t5.data.records.tables import Records
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import leave_one_out
from p5t5.distillation.soft_targets import make_soft_targets
from p5t5.text.mixture import make_mixture
from p5t5.text.prompts import load_prompts
from p5t5.training.loop import TrainResult
from p5t5.updating.new_interactions import Replay, split_newer_data

RATES = {"sequential/next_item": 1.0, "rating/score": 1.0}
ALPHAS = {"sequential/next_item": 0.25, "rating/score": 0.75}


def keep(checkpoint: Checkpoint, folder: Path, **stage) -> None:
    """As `p5t5 finetune` would have left it."""
    checkpoint.info.tasks = list(RATES)
    told = {"stage": "finetune", "rates": RATES, "loss_weights": {"rating/score": 3.0}}
    checkpoint.info.stages = [{**told, **stage}]
    checkpoint.save(folder)


@pytest.fixture(scope="module")
def road(tmp_path_factory) -> Path:
    """june: a shop; may: its first two thirds; models of may, with soft targets and without."""
    folder = tmp_path_factory.mktemp("soft_targets")
    records = simulate(users=40, items=60, seed=5).records
    table = records.interactions
    early = table["timestamp"] <= table["timestamp"].quantile(0.7)
    records.write(folder / "june")
    items = records.items[records.items["item_id"].isin(table["item_id"][early])].reset_index(drop=True)
    may = Records("shop", table[early].reset_index(drop=True), items).write(folder / "may")
    options = {"vocabulary_size": 400, "start_from_factors": False, "user_identifiers": "none"}
    for name, identifiers in (("model", "atomic"), ("several", "collaborative")):
        split = leave_one_out(may)
        made = create_checkpoint(split, load_prompts(), item_identifiers=identifiers, **options)
        keep(made, folder / name, soft_targets=ALPHAS)
        keep(made, folder / f"{name}-untaught")
    return folder


@pytest.fixture
def trained(monkeypatch):
    """What training was given: its first epoch, its notes and its identity. Nothing is trained."""
    found: dict = {}

    def spy(model, source, options, out, validate=None, notes=(), identity=None):
        found.update(epoch=source(0), notes=list(notes), identity=identity)
        return TrainResult(steps=0, best=None)

    monkeypatch.setattr("p5t5.training.loop.train", spy)
    return found


def update(road: Path, out: Path, model: str = "model", data: str = "june", *more: str) -> dict:
    """The stage that an update leaves in p5t5.json."""
    words = f"--model {road / model} --data {road / data} --out {out} --validation_users 3".split()
    assert main(["update", *words, *more]) == 0
    return json.loads((out / "p5t5.json").read_text())["stages"][-1]


def same(one: Encoded, two: Encoded) -> None:
    assert one.inputs.to_lists() == two.inputs.to_lists() and one.targets.to_lists() == two.targets.to_lists()
    assert np.array_equal(one.weights, two.weights)
    assert (one.soft_targets is None) == (two.soft_targets is None)
    if one.soft_targets is not None:
        assert np.array_equal(one.soft_targets.tokens, two.soft_targets.tokens)
        assert np.array_equal(one.soft_targets.shares, two.soft_targets.shares)
        assert np.array_equal(one.soft_target_index, two.soft_target_index)


def expected(road: Path, out: Path, soft_targets: dict) -> Encoded:
    """The epoch as it should be, from the updated model."""
    grown, june = Checkpoint.load(out), load(road / "june")
    split, _, before = split_newer_data(Checkpoint.load(road / "model").info, june)
    distilled, off = make_soft_targets(grown, split, soft_targets)
    assert not off and (distilled is None) == (not soft_targets)
    weights = {"rating/score": 3.0}
    mixture, _ = make_mixture(split, grown.prompts, RATES, grown.build_options(), loss_weights=weights)
    return Replay.of(mixture, before, 0.5).render(grown.renderer_for(june), 0, distilled)


def test_an_update_goes_on_with_the_soft_targets_of_the_model(road, trained, tmp_path):
    stage = update(road, tmp_path / "x")
    assert stage["soft_targets"] == ALPHAS == trained["identity"]["--soft_targets"] and not trained["notes"]
    epoch = trained["epoch"]
    same(epoch, expected(road, tmp_path / "x", ALPHAS))
    assert (epoch.soft_target_index >= 0).sum() > 0.5 * len(epoch)


def test_the_next_update_too(road, trained, tmp_path):
    """`kept` is what the last training had: of an update as of finetune."""
    update(road, tmp_path / "x", "model", "june", "--soft_targets", "rating/score=0.5")
    again = Checkpoint.load(tmp_path / "x")
    again.info.trained = [again.info.trained[0]]  # june's rows are new once more
    again.save(tmp_path / "y")
    assert update(tmp_path, tmp_path / "z", "y", str(road / "june"))["soft_targets"] == {"rating/score": 0.5}
    assert trained["epoch"].soft_targets is not None


def test_soft_targets_are_off_where_the_user_says_so_and_where_there_were_none(road, trained, tmp_path):
    for model, more in (("model", ["--soft_targets", ""]), ("model-untaught", [])):
        out = tmp_path / model
        assert update(road, out, model, "june", *more)["soft_targets"] == {}
        assert trained["identity"]["--soft_targets"] == {} and trained["epoch"].soft_targets is None
        same(trained["epoch"], expected(road, out, {}))


def test_no_soft_target_reads_a_validation_or_test_row(road, trained, tmp_path):
    """June once more, its held-back rows about other items with other ratings: the same examples, the same soft targets."""
    june = load_records(road / "june")
    split, _, _ = split_newer_data(Checkpoint.load(road / "model").info, load(road / "june"))
    held, table = split.part != 0, june.interactions.copy()
    following = dict(zip(june.items["item_id"], np.roll(june.items["item_id"], 1), strict=True))
    table.loc[held, "item_id"] = table.loc[held, "item_id"].map(following)
    table.loc[held, "rating"] = 6 - table.loc[held, "rating"]
    replace(june, interactions=table).write(tmp_path / "poisoned")
    update(road, tmp_path / "x")
    clean = trained["epoch"]
    update(road, tmp_path / "y", "model", str(tmp_path / "poisoned"))
    assert load(tmp_path / "poisoned").hash != load(road / "june").hash
    same(trained["epoch"], clean)


def test_what_cannot_be_taught_is_told(road, trained, tmp_path):
    stage = update(road, tmp_path / "x", "several")
    assert any("several tokens" in note for note in trained["notes"])
    assert (
        stage["soft_targets"] == ALPHAS and trained["epoch"].soft_targets is not None
    )  # of ratings there are


def test_what_nobody_teaches_is_refused(road, tmp_path, capsys):
    words = f"update --model {road}/model --data {road}/june --out {tmp_path}/x --soft_targets review/headline=0.5"
    assert main(words.split()) == 2
    error = capsys.readouterr().err
    assert "--soft_targets: no soft targets exist for 'review/headline'" in error and error.count("\n") == 1
