"""A model meets newer data: what is new is told from what is old, trained on with replay, and judged apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.paths import ROOT

from p5t5.checkpoint.checkpoint import Checkpoint
from p5t5.checkpoint.creation import create_checkpoint
from p5t5.checkpoint.info import CheckpointInfo, DataRecord
from p5t5.cli.main import main
from p5t5.core.encoded import on_disk
from p5t5.core.errors import UserError
from p5t5.data.records.building import make_records
from p5t5.data.records.loading import load
from p5t5.data.records.tables import IndexedRecords, Records
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import Split, leave_one_out, split_by
from p5t5.evaluation.evaluate import evaluate_checkpoint
from p5t5.evaluation.results import find
from p5t5.inference.rating_calibration import saved_rating_calibration
from p5t5.tasks.base import BuildOptions
from p5t5.text import rendering
from p5t5.text.mixture import make_mixture
from p5t5.text.prompts import load_prompts
from p5t5.updating import new_interactions as fresh
from p5t5.updating.new_interactions import (
    Replay,
    clean_split,
    data_record,
    new_rows,
    restrict_validation,
    split_newer_data,
    split_of,
    trained_before,
    update_groups,
)
from p5t5.workflows.model_setup import StartOptions, load_split
from p5t5.workflows.update import format_table, group_validations, rows_evaluated

FEW = "--max_steps 3 --checkpoint_every 0 --token_budget 1024"


def shop(rows: list[tuple[str, str, int]], timed: bool = True) -> IndexedRecords:
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    return make_records("shop", table if timed else table.drop(columns="timestamp")).index()


OLD = [("u", "a", 1), ("u", "b", 2), ("u", "c", 3), ("u", "d", 4), ("v", "a", 2), ("v", "c", 5)]
NEW = [*OLD, ("u", "e", 6), ("v", "b", 7), ("w", "a", 8), ("w", "b", 9)]


@pytest.mark.parametrize("timed", [True, False])
def test_new_rows_are_found_against_the_old_folder(timed):
    old, data = shop(OLD, timed), shop(NEW, timed)
    assert new_rows(DataRecord.of(old), data, old).tolist() == [False] * 4 + [True] + [False] * 2 + [True] * 3


def test_new_rows_are_found_by_time_alone():
    assert (
        new_rows(DataRecord.of(shop(OLD)), shop(NEW)).tolist()
        == [False] * 4 + [True] + [False] * 2 + [True] * 3
    )


def test_a_repeated_visit_is_new_only_once():
    old, data = (
        shop([("u", "a", 1), ("u", "a", 2)], timed=False),
        shop([("u", "a", t) for t in (1, 2, 3)], timed=False),
    )
    assert new_rows(DataRecord.of(old), data, old).tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("rows", "old", "says"),
    [
        (NEW[1:], True, "lacks u with a"),
        (
            NEW[1:],
            False,
            "5 interactions up to the last timestamp of the model's data, but it was trained on 6",
        ),
        ([*NEW, ("w", "c", 5)], False, "arrived late"),
    ],
)
def test_a_folder_that_is_no_continuation_is_refused(rows, old, says):
    known = shop(OLD)
    with pytest.raises(UserError, match=says):
        new_rows(DataRecord.of(known), shop(rows), known if old else None)


def test_without_times_the_old_folder_is_needed():
    with pytest.raises(UserError, match="Give --old"):
        new_rows(DataRecord.of(shop(OLD, timed=False)), shop(NEW, timed=False))
    with pytest.raises(UserError, match="is not the data that the model was trained on"):
        new_rows(replace(DataRecord.of(shop(OLD)), hash="other"), shop(NEW), shop(OLD))
    swapped = [("u", "b", 1), ("u", "a", 2), *OLD[2:]]
    with pytest.raises(UserError, match="the order differs"):
        new_rows(DataRecord.of(shop(OLD, timed=False)), shop(swapped, timed=False), shop(OLD, timed=False))


def test_what_was_trained_on_is_told_by_the_old_split():
    """u: a b c d, of which a b were training; v: a c, too few to hold any back, so both were."""
    data = shop(NEW)
    is_new = new_rows(DataRecord.of(shop(OLD)), data)
    raw = leave_one_out(data)
    trained = trained_before(raw, is_new)
    assert trained.tolist() == [True, True, False, False, False, True, True, False, False, False]
    assert raw.part.tolist() == [0, 0, 0, 1, 2, 0, 1, 2, 0, 0]
    # v's new validation row was trained on: it must not be judged.
    assert clean_split(raw, trained).part.tolist() == [0, 0, 0, 1, 2, 0, 0, 2, 0, 0]


def test_late_arrivals_before_trained_rows_are_refused():
    old = [("u", "a", 5), ("u", "b", 6)]
    data, known = shop([("u", "z", 1), *old]), shop(old)
    is_new = new_rows(DataRecord.of(known), data, known)
    split = leave_one_out(data)
    with pytest.raises(UserError, match="user 'u': new interactions lie before old ones"):
        clean_split(split, trained_before(split, is_new))


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 1000),
    cuts=st.tuples(st.floats(0.2, 0.9), st.floats(0.2, 0.95)),
    timed=st.booleans(),
    trains=st.booleans(),
)
def test_no_row_that_was_trained_on_is_ever_judged(seed, cuts, timed, trains):
    """Random shops cut at two times, met in three steps: what was a training row of any stays one.

    Where the second step does not train, its rows are new still in the third.
    """
    random = np.random.default_rng(seed)
    pairs = random.permutation([(u, i) for u in range(15) for i in range(9)])[:40].tolist()
    rows = [(f"u{u}", f"i{i}", t) for t, (u, i) in enumerate(pairs)]
    lengths = [*sorted(int(40 * cut) for cut in cuts), 40]
    assume(lengths[0] < lengths[1] < 40)
    steps = [shop(rows[:length], timed) for length in lengths]
    info = info_of(DataRecord.of(steps[0]))
    seen = pairs_of(leave_one_out(steps[0]), 0)
    last = steps[0]
    for step, data in enumerate(steps[1:]):
        split, is_new, trained = split_newer_data(info, data, None if timed else last)
        assert is_new.sum() == len(data) - len(last)
        assert pairs_of(split, 0, trained) == seen and not (trained & (split.part != 0)).any()
        raw = leave_one_out(data).part
        assert (split.part == raw)[~trained].all()
        info = info.copy(data=data_record(split), trained=info.trained_data)
        assert np.array_equal(split_of(info, data).part, split.part), "evaluate sees what update saw"
        if step or trains:
            trained_on(info)
            assert info.trained[-1] == info.data and len(info.trained) == 2 + step - (not trains)
            last = data
            seen |= pairs_of(split, 0)
    assert not seen & (pairs_of(split_of(info, data), 1) | pairs_of(split_of(info, data), 2))


def info_of(data: DataRecord) -> CheckpointInfo:
    return CheckpointInfo("tiny", "loo", BuildOptions(), data, {})


def trained_on(info: CheckpointInfo) -> None:
    """As `Checkpoint.add_stage` does."""
    Checkpoint.add_stage(SimpleNamespace(info=info, fitted={}), {"stage": "update"})


def pairs_of(split: Split, part: int, among: np.ndarray | None = None) -> set[tuple[str, str]]:
    data, rows = split.data, np.flatnonzero((split.part == part) & (True if among is None else among))
    return set(zip(data.user_ids[data.user[rows]], data.item_ids[data.item[rows]], strict=True))


def test_what_two_updates_moved_by_hand():
    """v: a c, both trained on; then b comes, and c would be a validation row; then u goes on, and c would be one still."""
    first, second = shop(OLD), shop([*OLD, ("v", "b", 7)])
    info = info_of(DataRecord.of(first))
    split, *_ = split_newer_data(info, second)
    assert split.part.tolist() == [0, 0, 1, 2, 0, 0, 2] and data_record(split).moved == (5,)
    info = info_of(data_record(split))
    trained_on(info)
    trained_on(info)
    assert info.trained == [info.data]
    assert leave_one_out(second).part.tolist() == [0, 0, 1, 2, 0, 1, 2]
    assert split_of(info, second).part.tolist() == split.part.tolist()
    third = shop([*OLD, ("v", "b", 7), ("u", "e", 8)])
    again, is_new, trained = split_newer_data(info, third)
    assert leave_one_out(third).part.tolist() == [0, 0, 0, 1, 2, 0, 1, 2]
    assert again.part.tolist() == [0, 0, 0, 1, 2, 0, 0, 2] and data_record(again).moved == (6,)
    assert trained.tolist() == [True, True, False, False, False, True, True, False]
    assert is_new.tolist() == [False] * 4 + [True] + [False] * 3
    assert split_of(info, third).part.tolist() == again.part.tolist()


def triples(data: IndexedRecords, rows: np.ndarray) -> list[tuple]:
    return list(
        zip(data.user_ids[data.user[rows]], data.item_ids[data.item[rows]], data.timestamp[rows], strict=True)
    )


def test_validation_rows_by_kind():
    data = shop([*NEW, ("w", "e", 10)])
    is_new = new_rows(DataRecord.of(shop(OLD)), data)
    split = leave_one_out(data)
    known_items, known_users = data.item_ids != "e", data.user_ids != "w"
    found = update_groups(split, is_new, known_items, known_users)
    rows = {
        name: [triples(data, [row])[0][:2] for row in np.flatnonzero(among & (split.part == 1))]
        for name, among in found.items()
    }
    assert rows == {
        "old rows": [("u", "d"), ("v", "c")],
        "new rows": [("w", "b")],
        "of new users": [("w", "b")],
    }
    part = restrict_validation(split, found["new rows"])
    assert [triples(data, [row])[0][:2] for row in part.rows("validation")] == [("w", "b")]
    assert np.array_equal(part.rows("train"), split.rows("train")) and np.array_equal(
        part.rows("test"), split.rows("test")
    )


def test_replay_mixes_old_rows_in_at_their_share():
    data = simulate(users=40, items=160, seed=2).data
    split = leave_one_out(data)
    trained = (split.part == 0) & (data.user < 20)
    mixture, _ = make_mixture(split, load_prompts(), {"sequential/next_item": 1, "rating/score": 1})
    for share in (0.0, 0.5, 0.8):
        replay = Replay.of(mixture, trained, share)
        fresh, old = (
            replay.fresh.choose(0).row,
            replay.old.choose(0).row if replay.old.size else np.zeros(0, int),
        )
        assert not trained[fresh].any() and trained[old].all() and (split.part[fresh] == 0).all()
        assert len(fresh) == ((split.part == 0) & ~trained).sum()
        assert abs(len(old) / (len(old) + len(fresh)) - share) < 0.01
    nobody = Replay.of(mixture, split.part == 0, 0.5)
    assert nobody.fresh.tasks == () and nobody.old.tasks == mixture.tasks


def test_a_replay_that_is_too_large_lies_on_disk(monkeypatch):
    """Each part is below the limit, both together are not."""
    data = simulate(users=20, items=160, seed=2).data
    checkpoint = create_checkpoint(leave_one_out(data), load_prompts(), vocabulary_size=500)
    split = leave_one_out(data)
    mixture, _ = make_mixture(split, checkpoint.prompts, {"rating/score": 1})
    replay = Replay.of(mixture, (split.part == 0) & (data.user < 10), 0.5)
    renderer = checkpoint.renderer_for(data)
    whole = replay.render(renderer, 1)
    parts = []
    monkeypatch.setattr(rendering, "RENDERED", max(replay.fresh.size, replay.old.size))
    monkeypatch.setattr(fresh, "on_disk", lambda given: parts.append(on_disk(given)) or parts[-1])
    found = replay.render(renderer, 1)
    assert found is parts[0] and len(found) == len(whole) == replay.fresh.size + replay.old.size
    for name in ("inputs", "targets"):
        assert getattr(found, name).to_lists() == getattr(whole, name).to_lists()
    assert np.array_equal(found.weights, whole.weights) and np.array_equal(found.units, whole.units)


def test_the_table_shows_before_and_after():
    table = {
        "old rows": {
            "rows": 12,
            "before": {"ndcg@10": 0.5, "rmse": 1.0},
            "after": {"ndcg@10": 0.25, "rmse": 2.0},
        }
    }
    assert format_table(table).splitlines()[1].split() == ["old", "rows", "12", "ndcg@10", "0.5000", "0.2500"]
    assert format_table({"new rows": {"rows": 1, "before": {"rmse": 1.0}}}).endswith("–")


# The command


@pytest.fixture(scope="module")
def road(tmp_path_factory) -> Path:
    """june: a shop; may: what happened before its last third, without the items that came later; a model of may."""
    folder = tmp_path_factory.mktemp("update")
    records = simulate(users=50, items=160, seed=3).records
    table = records.interactions
    early = table["timestamp"] <= table["timestamp"].quantile(0.7)
    early &= table["user_id"] != table["user_id"].iloc[-1]  # who comes in June
    items = records.items[records.items["item_id"].isin(table["item_id"][early])].reset_index(drop=True)
    items = items.iloc[5:].reset_index(drop=True)
    early &= table["item_id"].isin(items["item_id"])
    late = table["timestamp"] > table["timestamp"][early].max()
    kept = table[early | late].reset_index(drop=True)
    Records("shop", table[early].reset_index(drop=True), items).write(folder / "may")
    Records("shop", kept, records.items).write(folder / "june")
    tasks = (
        "--tasks sequential/next_item=2,rating/score=1 --vocabulary_size 500 --loss_weights rating/score=3"
    )
    assert main(f"finetune --data {folder}/may --out {folder}/model {tasks} {FEW}".split()) == 0
    return folder


def rmse_of_saved(folder: Path, data: IndexedRecords, kind: str, model: Path) -> float:
    """What `p5t5 evaluate` measures of a saved model on the validation rows of one kind."""
    given, saved = Checkpoint.load(model), Checkpoint.load(folder)
    split, is_new, _ = split_newer_data(given.info, data)
    known = [given.catalogue.numbers(data.item_ids.tolist()) >= 0, np.ones(data.number_of_users, bool)]
    rows = update_groups(split, is_new, *known)[kind]
    assert np.array_equal(split_of(saved.info, data).part, split.part)
    found = evaluate_checkpoint(
        saved,
        restrict_validation(split, rows),
        ("rating/score",),
        part="validation",
        prompts=("seen",),
        progress=False,
    )
    return find(found.rows, metric="rmse")["value"]


def test_an_update_adds_trains_and_tells(road, capsys):
    line = f"update --model {road}/model --data {road}/june --out {road}/updated {FEW}"
    assert main(line.split()) == 0
    shown = capsys.readouterr().out
    format_table = json.loads((road / "updated" / "update.json").read_text())
    may, june = load(road / "may"), load(road / "june")
    assert format_table["new_items"] == june.number_of_items - may.number_of_items > 0
    assert format_table["new_interactions"] == len(june) - len(may)
    for kind in ("old rows", "new rows", "of new items"):
        entry = format_table["validation"][kind]
        assert set(entry["before"]) == set(entry["after"]) == {"ndcg@10", "rmse"} and kind in shown
    updated = Checkpoint.load(road / "updated")
    updated.check_same(june)
    stages = [stage["stage"] for stage in updated.info.stages]
    assert stages[0] == "finetune" and stages[-1] == "update" and "add_items" in stages
    assert updated.info.stages[-1]["steps"] == 3
    assert updated.info.stages[-1]["loss_weights"] == {"rating/score": 3.0}
    assert [one.hash for one in updated.info.trained] == [may.hash, june.hash]
    # The table says what the saved model gives, trust included, which was fitted anew.
    assert saved_rating_calibration(updated)["rating/score"].model_weight != 1
    assert np.isfinite(updated.catalogue.item_bias).all()
    for kind in ("old rows", "new rows", "of new items"):
        wanted = rmse_of_saved(road / "updated", june, kind, road / "model")
        assert format_table["validation"][kind]["after"]["rmse"] == pytest.approx(wanted, abs=1e-5)
    assert (
        main(
            f"evaluate --model {road}/updated --data {road}/june --out {road}/r.json --limit 5 --tasks rating/score".split()
        )
        == 0
    )


def test_items_alone_without_training(road):
    line = (
        f"update --model {road}/model --old {road}/may --data {road}/june --out {road}/named --training false"
    )
    assert main(line.split()) == 0
    format_table = json.loads((road / "named" / "update.json").read_text())
    assert "after" not in format_table["validation"]["old rows"]
    named = Checkpoint.load(road / "named")
    assert named.info.stages[-1]["stage"] in ("add_items", "add_users")
    # Nothing was trained: the trust holds, and the new rows are new still.
    june, trust = (
        load(road / "june"),
        saved_rating_calibration(Checkpoint.load(road / "model"))["rating/score"].model_weight,
    )
    assert saved_rating_calibration(named)["rating/score"].model_weight == trust != 1
    assert np.isnan(named.catalogue.item_bias).sum() == format_table["new_items"] > 0
    wanted = rmse_of_saved(road / "named", june, "old rows", road / "model")
    assert format_table["validation"]["old rows"]["before"]["rmse"] == pytest.approx(wanted, abs=1e-5)
    assert split_newer_data(named.info, june)[1].sum() == format_table["new_interactions"] > 0


def test_training_goes_on_with_the_rows_that_were_moved(road, tmp_path):
    """finetune and pretrain start from a model whose data had a validation row moved into training."""
    Checkpoint.load(road / "model").save(tmp_path)
    raw, path = leave_one_out(load(road / "may")), tmp_path / "p5t5.json"
    info = json.loads(path.read_text())
    moved = int(raw.rows("validation")[0])
    path.write_text(json.dumps({**info, "data": {**info["data"], "moved": [moved]}}))
    options = StartOptions(data=str(road / "may"), out="", model=str(tmp_path))
    part = load_split(options).part
    assert np.flatnonzero(part != raw.part).tolist() == [moved] and part[moved] == 0
    for other in ({"model": "tiny"}, {"data": str(road / "june")}, {"split": "temporal"}):
        chosen = replace(options, **other)
        split = load_split(chosen)
        assert np.array_equal(split.part, split_by(chosen.split, split.data).part)


def test_at_most_that_many_validation_rows_and_the_reasons_for_none():
    data = simulate(users=30, items=160, seed=3).data
    split = leave_one_out(data)
    checkpoint = create_checkpoint(split, load_prompts(), vocabulary_size=500)
    checkpoint.info.tasks = ["rating/score"]
    nobody = np.zeros(len(data), bool)
    kinds = {"old rows": data.user < 20, "new rows": data.user >= 20, "of new users": nobody}
    for limit, counts in ((0, [20, 10]), (12, [12, 10])):
        judged, off = group_validations(checkpoint, split, kinds, limit)
        assert [rows_evaluated(judged[name]) for name in ("old rows", "new rows")] == counts
        assert list(off) == ["of new users"] and "no validation rows" in off["of new users"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--model {road}/model --data {road}/june --out {tmp}/x --validation_users -1", "not be negative"),
        ("--model {road}/model --data {road}/small --out {tmp}/x", "items that the model knows, such as"),
        (
            "--model {road}/model --data {road}/june --out {tmp}/x --old {road}/june",
            "not the data that the model",
        ),
        ("--model {road}/model --data {road}/june --out {tmp}/x --replay 1", "--replay 1.0"),
        ("--model {road}/model --data {road}/stars --out {tmp}/x", "the model knows [1.0, 2.0"),
    ],
)
def test_mistakes_get_one_line(line, says, road, tmp_path, capsys):
    from p5t5.data.records.loading import load_records

    june = load_records(road / "june")
    if not (road / "small").exists():
        used = june.items["item_id"].tolist()[:30]
        few = june.interactions[june.interactions["item_id"].isin(used)].reset_index(drop=True)
        replace(june, interactions=few, items=june.items[:30]).write(road / "small")
        ten = june.interactions.assign(rating=june.interactions["rating"] * 2)
        replace(june, interactions=ten).write(road / "stars")
    assert main(["update", *line.format(road=road, tmp=tmp_path).split()]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_a_pretrained_model_is_refused(road, tmp_path, capsys):
    checkpoint = Checkpoint.load(road / "model")
    checkpoint.info.tasks = []
    checkpoint.save(tmp_path / "bare")
    assert main(f"update --model {tmp_path}/bare --data {road}/june --out {tmp_path}/x".split()) == 2
    assert "only been pretrained" in capsys.readouterr().err


def test_the_page_names_options_that_exist():
    import dataclasses
    import re

    from p5t5.workflows.update import UpdateOptions, UpdateTraining

    page = (ROOT / "docs" / "cold-start.md").read_text()
    ours = {field.name for kind in (UpdateOptions, UpdateTraining) for field in dataclasses.fields(kind)}
    for line in re.findall(r"p5t5 update[^\n`]*", page):
        assert set(re.findall(r"--(\w+)", line)) <= {*ours, "help"}, line
    for path in re.findall(r"(?:scripts|tests|benchmarks)/[\w/]+\.\w+", page):
        assert (ROOT / path).exists(), path


def test_the_python_of_the_page_runs(road, monkeypatch):
    import re

    monkeypatch.chdir(road)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "cold-start.md").read_text(), re.DOTALL)
    names: dict = {}
    exec(compile(code.replace("runs/", ""), "docs/cold-start.md", "exec"), names)
    assert "lens-9" in names["updated"].catalogue.item_ids
    assert [one.item_id for one in names["found"]]
    assert isinstance(names["split"], Split) if "split" in names else True
