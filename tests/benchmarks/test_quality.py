"""SASRec against slow twins, and the run of all peers beside p5t5 on small data."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.paths import ROOT
from support.tiny_data import at_random, by_hand
from torch.nn.functional import cross_entropy

from p5t5.checkpoint.creation import create_checkpoint
from p5t5.core.errors import UserError
from p5t5.core.ragged import Ragged
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import Split, leave_one_out
from p5t5.evaluation.baselines import evaluate_baselines
from p5t5.evaluation.example_values import read_example_values, write_example_values
from p5t5.evaluation.results import FIELDS, Measured, read_rows
from p5t5.metrics.intervals import bootstrap_interval
from p5t5.text.prompts import load_prompts

sys.path.insert(0, str(ROOT / "benchmarks"))
import quality
import sasrec
from common import curves, ours

SMALL = sasrec.Settings(hidden=16, layers=2, dropout=0.0, lr=1e-2, max_len=6)
HISTORIES = Ragged.from_lists([[3, 1, 4], [1], [5, 9, 2, 6, 5, 3], [2, 7]])


@pytest.fixture
def network():
    torch.manual_seed(0)
    made = sasrec.SASRec(12, SMALL)
    for value in made.parameters():  # larger than at the start, so that every part has a say
        torch.nn.init.normal_(value, std=0.3)
    return made


def states(network, history) -> torch.Tensor:
    """[length, hidden] of a history on its own, without padding."""
    network.eval()
    ids = torch.tensor([list(history)])
    return network(ids, torch.tensor([ids.shape[1]]))[0]


def test_a_state_knows_what_came_before_it_and_no_more(network):
    whole = states(network, [3, 1, 4, 8])
    assert not torch.allclose(whole[3], states(network, [5, 1, 4, 8])[3])
    assert torch.allclose(whole[:3], states(network, [3, 1, 4, 9])[:3], atol=1e-6)


def test_scores_are_the_products_of_the_newest_state_whatever_is_beside_it(network):
    scorer = sasrec.SASRecScorer(network, SMALL)
    histories = Ragged.from_lists([*HISTORIES.to_lists(), [], [9, 9, *HISTORIES[2]]])
    found = scorer.scores(histories)
    for row, history in enumerate(HISTORIES.to_lists()):
        slow = states(network, history)[-1] @ network.items.weight.T
        np.testing.assert_allclose(found[row], slow.detach().numpy(), atol=1e-4)
    assert not found[4].any()
    np.testing.assert_allclose(found[5], found[2], atol=1e-5)  # longer than max_len: its end
    assert found.dtype == np.float32 and found.shape == (6, 12)


def test_a_step_descends_the_plain_cross_entropy_of_all_positions(network):
    sequences = Ragged.from_lists([[3, 1, 4], [1, 2], [5, 9, 2, 6, 5, 3, 8]])
    logits = torch.cat([states(network, one[:-1]) @ network.items.weight.T for one in sequences.to_lists()])
    wanted = torch.tensor([item for one in sequences.to_lists() for item in one[1:]])
    slow = cross_entropy(logits, wanted)
    slow.backward()
    gradients = {name: value.grad.clone() for name, value in network.named_parameters()}
    optimiser = torch.optim.SGD(network.parameters(), lr=0.0)
    assert sasrec.step(network, optimiser, sequences) == pytest.approx(slow.item(), rel=1e-5)
    for name, value in network.named_parameters():
        torch.testing.assert_close(value.grad, gradients[name], atol=1e-5, rtol=1e-3)


def test_examples_are_the_last_training_items():
    assert sasrec.training_sequences(by_hand(), 6).to_lists() == [[0, 1, 2]]
    assert sasrec.training_sequences(by_hand(), 2).to_lists() == [[1, 2]]


def test_batches_hold_each_row_once_and_about_as_many_values(monkeypatch):
    monkeypatch.setattr(sasrec, "TOKENS", 50)
    lengths = np.random.default_rng(0).integers(1, 12, 200)
    first, again, other = (list(sasrec.batches(lengths, 3, epoch)) for epoch in (0, 0, 1))
    assert Counter(np.concatenate(first).tolist()) == Counter(range(200))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(np.concatenate(first), np.concatenate(other))
    for rows in first:
        assert lengths[rows].sum() < 50 + 12 and np.ptp(lengths[rows]) <= 2


def circle(users: int = 30, items: int = 12) -> Split:
    """Every user goes round the same circle of items."""
    data = at_random(users=users, items=items, longest=8, repeats=True).data
    place = np.arange(len(data)) - data.user_start[data.user]
    return leave_one_out(replace(data, item=((data.user + place) % items).astype(np.int32)))


def test_it_learns_what_follows_what_and_keeps_the_best(monkeypatch):
    monkeypatch.setattr(sasrec, "PATIENCE", 10)
    split = circle()
    fitted = sasrec.fit(split, SMALL, minutes=60, seed=0)
    assert fitted.best[3] == max(line[3] for line in fitted.curve) > 0.95
    assert sasrec.validation_ndcg(fitted.scorer, split, None) == pytest.approx(fitted.best[3:])
    (row,) = [
        row
        for row in evaluate_baselines(split, "test", [sasrec.TASK], scorers=[fitted.scorer]).rows
        if (row["metric"], row["protocol"]) == ("ndcg@10", "unfiltered")
    ]
    assert row["model"] == "sasrec" and row["value"] > 0.95
    seconds = [line[1] for line in fitted.curve]
    assert seconds == sorted(seconds) and all(line[0] <= line[1] for line in fitted.curve)


def test_a_search_goes_on_where_it_ended(tmp_path, monkeypatch, capsys):
    asked = []

    def fit(split, settings, minutes, seed, limit):
        asked.append(settings)
        best = (1.0, 2.0, 3, len(asked) / 100, 0.5)
        return sasrec.Fitted(None, [best], best, 60.0, 10)

    monkeypatch.setattr(sasrec, "fit", fit)
    split, path = at_random(), tmp_path / "rows.jsonl"
    assert len(sasrec.search(split, 1.0, 3.0, 0, path, None)) == 3
    assert len(sasrec.search(split, 1.0, 5.0, 0, path, None)) == 5
    assert len(asked) == len(set(asked)) == 5 and asked[0] == sasrec.Settings()
    assert sasrec.search(split, 1.0, 5.0, 0, path, None)[-1]["ndcg@10"] == 0.05 and len(asked) == 5
    other = replace(split.data, hash="other")
    assert sasrec.read_lines(path, Split(other, "loo", split.part)) == []
    assert sasrec.settings_of(sasrec.read_lines(path, split)[3]) == asked[3]


def measured(values, model="p5t5", rows=(2, 5), protocol="filtered") -> Measured:
    rows = np.array(rows)
    return Measured(
        model, sasrec.TASK, "seen", protocol, rows, rows // 2, {"ndcg@10": np.array(values, float)}
    )


def test_seeds_are_averaged_row_by_row_and_the_interval_is_that_of_the_means():
    system = quality.System(parameters=7)
    for seed, values in enumerate(([0.0, 1.0], [0.5, 0.0], [1.0, 0.5])):
        system.add([measured(values)], seed, 60.0 * seed)
    rows = quality.rows_of(system, {"dataset": "d", "split": "test", "scheme": "loo"})
    assert [(row["aggregate"], row["seed"], row["seeds"], row["minutes"]) for row in rows] == [
        ("mean", 0, [0, 1, 2], 1.0),
        ("seed", 0, [0], 0.0),
        ("seed", 1, [1], 1.0),
        ("seed", 2, [2], 2.0),
    ]
    assert rows[0]["value"] == 0.5 and rows[1]["value"] == 0.5 and rows[2]["value"] == 0.25
    interval = bootstrap_interval(np.array([0.5, 0.5]), 0, users=np.array([1, 2]))
    assert rows[0]["ci95"] == [interval.low, interval.high] == [0.5, 0.5]
    assert set(FIELDS) < set(rows[0]) and rows[0]["parameters"] == 7
    system.add([measured([0, 0], rows=(2, 6))], 3, 1.0)
    with pytest.raises(UserError, match="not asked the same rows"):
        quality.rows_of(system, {})


def test_values_come_back_from_their_file(tmp_path):
    several = Measured("p5t5", "review/headline", "seen", "greedy", np.array([1]), np.array([0]),
                       {"bleu4": np.ones((1, 9)), "rouge1": np.array([0.25])})  # fmt: skip
    given = [measured([0.1, 1 / 3]), measured([1, 0], "popularity", (5, 2), "unfiltered"), several]
    path = tmp_path / "a.values.parquet"
    write_example_values(path, given, {"hash": "h", "seconds": 1.5})
    found, about = read_example_values(path)
    assert about == {"hash": "h", "seconds": 1.5}
    for one, other in zip(given, found, strict=True):
        assert (one.model, one.task, one.prompt, one.protocol) == (
            other.model,
            other.task,
            other.prompt,
            other.protocol,
        )
        assert np.array_equal(one.rows, other.rows) and np.array_equal(one.users, other.users)
    assert np.array_equal(found[0].values["ndcg@10"], given[0].values["ndcg@10"])
    assert list(found[2].values) == ["rouge1"]
    write_example_values(path, [], {})
    assert read_example_values(path) == ([], {})
    path.write_text("no parquet")
    with pytest.raises(UserError, match="--values true"):
        read_example_values(path)


def test_all_peers_beside_two_seeds_of_ours(tmp_path, monkeypatch):
    monkeypatch.setattr(sasrec, "PATIENCE", 1)
    split = circle()
    monkeypatch.setattr(quality, "load", lambda folder: split.data)
    (asked,) = [
        one
        for one in evaluate_baselines(split, "test", [sasrec.TASK], with_implicit=False).measured
        if (one.model, one.protocol) == ("count_floor", "unfiltered")
    ]
    right = np.ones(len(asked.rows))
    paths = []
    for seed in (0, 1):
        one = replace(asked, model="p5t5", prompt="seen", values={"ndcg@10": right, "hr@10": right})
        paths.append(str(tmp_path / f"seed{seed}.json"))
        about = {"hash": "0", "part": "test", "scheme": "loo", "seconds": 90.0, "seed": seed, "parameters": 5}
        write_example_values(tmp_path / f"seed{seed}.values.parquet", [one, asked], about)
    out = tmp_path / "board.json"
    given = dict(
        data="d", results=paths, model=[], peers=["popularity", "count_floor", "ease", "sasrec"], again=[],
        seeds=[0], minutes=0.05, sasrec=None, part="test", limit=0, validation_users=0, out=str(out),
    )  # fmt: skip
    monkeypatch.setitem(quality.CHOICES, "popularity", (_refuse, [{}]))
    told = list(quality.run(argparse.Namespace(**given)))
    assert told[0] == "p5t5, seen: ndcg@10 unfiltered 1.0000"
    assert told[1] == "popularity is left out: too large" and len(told) == 5
    rows = read_rows(out)
    mean = [row for row in rows if row["aggregate"] == "mean" and row["metric"] == "ndcg@10"]
    assert [(row["model"], row["value"], row["seeds"], row["minutes"]) for row in mean] == [
        ("p5t5", 1.0, [0, 1], 1.5)
    ]
    assert {row["model"] for row in rows} == {"p5t5", "count_floor", "ease", "sasrec"}
    ease = next(row for row in rows if row["model"] == "ease")
    assert ease["parameters"] == 144 and ease["settings"]["regularisation"] in (50.0, 200.0, 1000.0, 4000.0)
    floor = next(row for row in rows if row["model"] == "count_floor")
    assert floor["parameters"] is None and floor["seeds"] == []
    pairs = json.loads(out.with_suffix(".comparisons.json").read_text())
    assert {(one["model"], one["against"], one["metric"]) for one in pairs} == {
        ("p5t5", name, "ndcg@10") for name in ("count_floor", "ease", "sasrec")
    }
    floor = next(one for one in pairs if one["against"] == "count_floor")
    assert floor["difference"] == pytest.approx(1 - asked.values["ndcg@10"].mean(), abs=1e-6)

    monkeypatch.setattr(quality, "peer", _refuse)  # what is known is not run again
    again = list(quality.run(argparse.Namespace(**given | {"peers": ["count_floor", "ease", "sasrec"]})))
    assert again == [told[0], *told[2:]] and read_rows(out) == rows
    told = list(quality.run(argparse.Namespace(**given | {"peers": ["ease"], "again": ["ease"]})))
    assert told[1:] == ["ease is left out: too large"]
    assert {row["model"] for row in read_rows(out)} == {"p5t5", "count_floor", "sasrec"}
    with_other = given | {"peers": ["count_floor"], "minutes": 1.0}  # sasrec is not asked for: it stays
    told = list(quality.run(argparse.Namespace(**with_other)))
    assert told[1].startswith("sasrec was made by other") and "--peers sasrec runs it again" in told[1]
    assert {row["model"] for row in read_rows(out)} == {"p5t5", "count_floor", "sasrec"}
    told = list(quality.run(argparse.Namespace(**with_other | {"peers": ["count_floor", "sasrec"]})))
    assert told[1].endswith("it is run again") and told[-1] == "sasrec is left out: too large"
    with pytest.raises(UserError, match="another part: test"):
        quality.our_systems(quality.told(paths), {"hash": "0", "part": "validation", "scheme": "loo"})


def test_a_peer_is_known_by_what_it_is_made_by(tmp_path, monkeypatch):
    split, lines = at_random(), tmp_path / "search.jsonl"

    def searched(*values):
        fitted = [sasrec.Fitted(None, [], (1.0, 1.0, 1, value, value), 1.0, 1) for value in values]
        told = [sasrec.line(one, replace(SMALL, hidden=at), split, 1, 0) for at, one in enumerate(fitted, 16)]
        lines.write_text("".join(json.dumps(one) + "\n" for one in told))

    def made(name, **other):
        given = dict(seeds=[0, 1], minutes=1.0, validation_users=9, sasrec=lines) | other
        return quality.made_by(name, split, argparse.Namespace(**given))

    searched(0.5)
    before = {name: made(name) for name in quality.PEERS}
    assert json.loads(json.dumps(before)) == before
    assert [n for n in quality.PEERS if made(n, seeds=[0]) != before[n]] == ["als", "bpr", "sasrec"]
    assert [n for n in quality.PEERS if made(n, minutes=2.0) != before[n]] == ["sasrec"]
    monkeypatch.setitem(quality.CHOICES, "ease", (quality.EASE, [{"regularisation": 1.0}]))
    assert [n for n in quality.PEERS if made(n) != before[n]] == ["ease"]
    searched(0.5, 0.4)  # one line more, the same is chosen
    assert made("sasrec") == before["sasrec"]
    searched(0.5, 0.6)
    assert made("sasrec")["settings"]["hidden"] == 17 and before["sasrec"]["settings"]["hidden"] == 16
    out = tmp_path / "board.json"
    quality.write_rows(out, [])
    write_example_values(
        out.with_suffix(quality.VALUES), [measured([1, 0], "ease")], {"hash": "h"}
    )  # as it once was
    assert quality.earlier(out, {"hash": "h"})[2] == {"ease": None}
    assert quality.earlier(out, {"hash": "other"}) == ([], [], {})


def test_models_are_asked_in_the_run_once_and_paired_with_their_fusion_s_other_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(sasrec, "PATIENCE", 1)
    split = leave_one_out(simulate(users=60, items=40, seed=4).data)
    monkeypatch.setattr(quality, "load", lambda folder: split.data)
    checkpoint = create_checkpoint(split, load_prompts(), vocabulary_size=500, user_identifiers="none")
    checkpoint.info = checkpoint.info.copy(
        tasks=[sasrec.TASK], stages=[{"stage": "finetune", "seconds": 30.0}]
    )
    checkpoint.save(tmp_path / "model")
    lines = [
        {"step": 1, "elapsed": 3.0, "loss": 1.0},
        {"elapsed": 4.0, "validation": {"ndcg@10": 0.0}},
        {"elapsed": 9.0, "validation": {"ndcg@10": 1.0}},
    ]
    (tmp_path / "model" / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    out = tmp_path / "board.json"
    given = dict(
        data="d", results=[], model=[str(tmp_path / "model")], peers=["fusion_without_model", "sasrec"], again=[],
        seeds=[0], minutes=0.05, sasrec=None, part="test", limit=0, validation_users=0, out=str(out),
    )  # fmt: skip
    told = list(quality.run(argparse.Namespace(**given)))
    rows = read_rows(out)
    assert {row["model"] for row in rows} == {"p5t5", "p5t5+fusion", "fusion_without_model", "sasrec"}
    assert (tmp_path / "model" / "fusion.json").is_file()
    pairs = json.loads(out.with_suffix(".comparisons.json").read_text())
    assert {
        (one["prompt"], one["protocol"])
        for one in pairs
        if (one["model"], one["against"]) == ("p5t5+fusion", "fusion_without_model")
    } == {(prompt, protocol) for prompt in ("seen", "held_out") for protocol in ("filtered", "unfiltered")}
    alone = next(row for row in rows if row["model"] == "fusion_without_model")
    assert "model" not in alone["settings"]["weights"] and "count_floor" in alone["settings"]["weights"]
    ours_row = next(row for row in rows if row["model"] == "p5t5")
    assert (ours_row["minutes"], ours_row["seeds"]) == (0.5, [0])
    line = json.loads(told[-1])
    assert line["case"] == "time_to_sasrec" and line["detail"]["ours"] == 9.0
    assert line["value"] == pytest.approx(9.0 / line["detail"]["theirs"], abs=1e-3)
    assert json.loads((tmp_path / "board-times.jsonl").read_text()) == line
    monkeypatch.setattr(ours, "evaluate_checkpoint", _refuse)  # nor is a model asked again
    assert list(quality.run(argparse.Namespace(**given))) == told
    again = read_rows(out)
    for row in (*rows, *again):
        row.pop("seconds")  # of answering: values files do not hold it
    assert again == rows
    digests = {ours.digest(tmp_path / "model")}
    assert (tmp_path / f"board.model.{min(digests)}.values.parquet").is_file()
    for name in ("p5t5.json", "prompts.yaml", "fusion.json", "model.safetensors"):
        (tmp_path / "model" / name).write_bytes(b"another one")
        digests.add(ours.digest(tmp_path / "model"))
    (tmp_path / "model" / "README.md").write_text("says nothing")
    digests.add(ours.digest(tmp_path / "model"))
    monkeypatch.setattr(ours, "ANSWERING", 0)
    assert len({*digests, ours.digest(tmp_path / "model")}) == 6


def test_curves_are_compared_at_the_first_validation_that_is_as_good(tmp_path):
    assert curves.first([(1.0, 0.2), (2.0, 0.5), (3.0, 0.4)], 0.4) == 2.0
    assert curves.first([(1.0, 0.2)], 0.4) == float("inf")
    folder, out = tmp_path / "model", tmp_path / "board.json"
    folder.mkdir()
    stages: list[dict] = [{"stage": "pretrain", "seconds": 10.0}, {"stage": "finetune", "seconds": 30.0}]
    (folder / "p5t5.json").write_text(json.dumps({"stages": stages}))
    points = [(5.0, 0.03), (15.0, 0.057), (25.0, 0.06)]
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps({"elapsed": at, "validation": {"ndcg@10": value}}) + "\n" for at, value in points)
    )
    identity = {"hash": "h"}
    assert curves.time_to_sasrec(out, identity, [str(folder)]) is None  # no SASRec yet
    theirs = {"0": [(4.0, 0.05), (8.0, 0.06)], "1": [(6.0, 0.06), (8.0, 0.02)]}
    curves.keep(out, {**identity, "validation_users": 1000}, theirs)
    line = curves.time_to_sasrec(out, identity, [str(folder)])
    assert line["detail"]["ours"] == 35.0 and line["detail"]["theirs"] == 7.0 and line["value"] == 5.0
    assert line["detail"]["to 95%"] == [25.0, 7.0]
    assert curves.time_to_sasrec(out, {"hash": "other"}, [str(folder)]) is None
    stages[1] |= {"prepared_seconds": 2.5, "threads": 2}
    (folder / "p5t5.json").write_text(json.dumps({"stages": stages}))
    assert curves.seconds_of(stages) == 42.5
    theirs = {"0": [(4.0, 0.055), (8.0, 0.075)], "1": [(3.0, 0.01), (6.0, 0.045), (9.0, 0.045)]}
    curves.keep(out, {**identity, "validation_users": 1000}, theirs)
    detail = curves.time_to_sasrec(out, identity, [str(folder)])["detail"]
    assert detail["target"] == 0.06 and detail["ours by seed"] == [37.5] and detail["threads of ours"] == [2]
    assert detail["theirs by seed"] == [8.0, 6.0]  # the second at its best, which is below
    assert detail["seeds of theirs below the target, with the time to their best"] == ["1"]
    assert detail["to 95%"] == [27.5, 7.0]
    curves.keep(out, {**identity, "validation_users": 1000}, {"0": [(4.0, 0.2)]})
    assert curves.time_to_sasrec(out, identity, [str(folder)])["value"] is None
    stages[1]["validation_users"] = 2000
    (folder / "p5t5.json").write_text(json.dumps({"stages": stages}))
    assert curves.time_to_sasrec(out, identity, [str(folder)]) is None, "other rows are no race"


def _refuse(*inputs, **settings):
    raise UserError("too large")
