"""P5's random 8:1:1 split: drawn by ids, histories of training rows alone, and marked as such wherever it is shown."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reporting.test_results_page import INFO, row

from p5t5.cli.main import main
from p5t5.core.errors import UserError
from p5t5.core.ragged import Ragged
from p5t5.core.randomness import uniform
from p5t5.data.explanations.build import check_split, explained, training_reviews
from p5t5.data.explanations.english import is_installed
from p5t5.data.records.building import make_records
from p5t5.data.records.loading import load
from p5t5.data.sampling import draw_keys
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import Split, at_random, leave_one_out, split_by, split_label, temporal
from p5t5.evaluation.rows import rows_of
from p5t5.reporting.model_card import card_template, fill_model_card, readme_table
from p5t5.reporting.results_page import write_report
from p5t5.tasks.registry import TASKS
from p5t5.text.mixture import make_mixture
from p5t5.text.prompts import load_prompts
from p5t5.updating.new_interactions import split_newer_data

MARK = "random 8:1:1 (P5's; leaks the future)"
SCHEMES = {"loo": leave_one_out, "temporal": temporal, "random": at_random}
EVENTS = st.lists(
    st.tuples(st.integers(0, 7), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=60, unique=True
)


def data_of(events):
    rows = [(f"u{user}", f"i{item}", time) for user, item, time in events]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    return make_records("t", table).index()


@pytest.fixture(scope="module")
def shop():
    return simulate(users=120, items=160, seed=3).data


def pairs(split):
    """(user id, item id) → the part of its rows."""
    ids = zip(split.data.user_ids[split.data.user], split.data.item_ids[split.data.item], strict=True)
    found: dict = {}
    for pair, part in zip(ids, split.part.tolist(), strict=True):
        assert found.setdefault(pair, part) == part, "one pair, one part"
    return found


def slow_parts(data):
    """The same, a row at a time."""
    key = [
        float(uniform(0, *(draw_keys([str(one)], 0).view(np.int64)[0] for one in (user, item))))
        for user, item in zip(data.user_ids[data.user], data.item_ids[data.item], strict=True)
    ]
    part = [0 if value < 0.8 else 1 if value < 0.9 else 2 for value in key]
    for number in (data.user.tolist(), data.item.tolist()):
        for owner in set(number):
            own = [place for place, one in enumerate(number) if one == owner]
            if all(part[place] for place in own):
                least = min(key[place] for place in own)
                for place in own:
                    part[place] = 0 if key[place] == least else part[place]
    return part


@settings(max_examples=30, deadline=None)
@given(EVENTS)
def test_parts_equal_their_slow_twin(events):
    data = data_of(events)
    expected = slow_parts(data)
    if set(expected) != {0, 1, 2}:
        with pytest.raises(UserError, match=r"the random split leaves \w+ empty: too few interactions"):
            at_random(data)
        return
    assert at_random(data).part.tolist() == expected


def test_shares_and_everybody_has_a_training_row(shop):
    split = at_random(shop)
    shares = np.bincount(split.part) / len(shop)
    assert abs(shares - [0.8, 0.1, 0.1]).max() < 0.03
    train = split.rows("train")
    assert len(np.unique(shop.user[train])) == len(np.unique(shop.user))
    assert len(np.unique(shop.item[train])) == len(np.unique(shop.item))


def test_the_order_of_the_rows_and_who_else_is_there_do_not_matter(shop):
    table = pd.DataFrame({"user_id": shop.user_ids[shop.user], "item_id": shop.item_ids[shop.item]})
    whole = pairs(at_random(make_records("a", table.assign(timestamp=shop.timestamp)).index()))
    mixed = table.assign(timestamp=shop.timestamp).sample(frac=1, random_state=1)
    assert pairs(at_random(make_records("b", mixed).index())) == whole
    assert pairs(at_random(make_records("c", table).index())) == whole  # without times
    fewer = pairs(at_random(make_records("d", table[shop.user < 60]).index()))
    same = np.mean([whole[pair] == part for pair, part in fewer.items()])
    assert same > 0.97  # all but the rows that give somebody the only training row


@settings(max_examples=40, deadline=None)
@given(
    EVENTS,
    st.lists(st.integers(-1, 2), min_size=60, max_size=60),
    st.integers(1, 12),
    st.sampled_from(["random", "loo"]),
)
def test_histories_equal_their_slow_twin(events, parts, longest, scheme):
    data = data_of(events)
    split = Split(data, scheme, np.array(parts[: len(data)], np.int8))
    rows = np.arange(len(data))[::-1]
    known = [
        [r for r in range(row) if data.user[r] == data.user[row] and (scheme == "loo" or split.part[r] == 0)]
        for row in rows
    ]
    assert split.history_lengths(rows).tolist() == [len(one) for one in known]
    history = split.history(rows, longest)
    assert history.to_lists() == [one[-longest:] for one in known] and history.values.dtype == np.int32
    assert split.history_items(rows, longest).to_lists() == [
        data.item[one[-longest:]].tolist() for one in known
    ]


def test_no_held_out_row_is_in_any_history(shop):
    split = at_random(shop)
    history = split.history(np.arange(len(shop)), 10**6)
    assert (split.part[history.values] == 0).all() and len(history.values) > len(shop)
    assert (
        shop.timestamp[history.values] <= shop.timestamp[np.arange(len(shop))[history.row_of_value]]
    ).all()
    held = np.flatnonzero(split.part)
    pair = shop.user.astype(np.int64) * shop.number_of_items + shop.item
    asked = shop.user[np.arange(len(shop))[history.row_of_value]].astype(np.int64) * shop.number_of_items
    assert not np.isin(asked + shop.item[history.values], pair[held]).any()


def test_sequential_and_direct_are_off_and_say_so(shop):
    split = at_random(shop)
    mixture, off = make_mixture(split, load_prompts())
    families = {name.split("/")[0] for name in mixture.tasks}
    assert families == {"rating", "explanation", "review"}
    for name in TASKS:
        rows, reason = rows_of(split, name, "test", None, 0)
        if name.split("/")[0] in families:
            assert len(rows) and (split.part[rows] == 2).all()
        else:
            assert reason == (
                f"{name} is off: the random split is not in time order, so nobody can be asked what comes next"
            )
            assert len(TASKS[name].eligible(split, "train")) == 0
            assert any(name in sentence for sentence in off)


def test_newer_data_are_refused(shop):
    info = INFO.copy(split="random", data=replace(INFO.data, hash="other"))
    with pytest.raises(UserError, match=r"trained on the random split.*only be used with its own data"):
        split_newer_data(info, shop)


# ---------------------------------------------------------------- explanations


def reviews(change=lambda user, place, text: text):
    rows = []
    for user in range(12):
        for place in range(6):
            feature = ("strap", "tone", "cable")[(user + place) % 3]
            text = f"The {feature} is {('great', 'awful')[place % 2]} by day {user}."
            rows.append((f"u{user:02}", f"i{place}", 1 + user % 5, place, change(user, place, text)))
    return make_records(
        "shop", pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp", "review"])
    )


@pytest.mark.skipif(not is_installed(), reason="needs TextBlob")
def test_features_are_learnt_from_this_split_s_training_rows():
    made = pairs(at_random(reviews().index()))
    changed = reviews(
        lambda user, place, text: "The humbug is great." * (made[f"u{user:02}", f"i{place}"] > 0) or text
    )
    found = explained(changed, scheme="random").info["explanations"]
    assert set(found["features"]) == {"strap", "tone", "cable"} and found["split"] == "random"
    assert "the random split" in found["fitted_on"]
    learnt = {
        scheme: " ".join(training_reviews(changed, changed.index(), scheme)) for scheme in ("loo", "random")
    }
    assert "humbug" in learnt["loo"] and "humbug" not in learnt["random"]


def test_attribute_sentences_do_not_know_held_out_rows(shop):
    table = pd.DataFrame(
        {"user_id": shop.user_ids[shop.user], "item_id": shop.item_ids[shop.item],
         "rating": shop.rating, "timestamp": np.arange(len(shop))}
    )  # fmt: skip
    items = pd.DataFrame({"item_id": shop.item_ids, "genre": [f"kind {n % 3} words" for n in range(160)]})
    split = at_random(make_records("a", table, items).index())
    other = table.assign(rating=np.where(split.part > 0, 6 - table["rating"], table["rating"]))
    ours, theirs = (
        explained(make_records("a", one, items), scheme="random").interactions for one in (table, other)
    )
    assert ours["explanation"].tolist() == theirs["explanation"].tolist()
    assert (
        ours["explanation"].tolist()
        != explained(make_records("a", table, items)).interactions["explanation"].tolist()
    )


@pytest.mark.parametrize(
    ("source", "made_for", "scheme", "clean"),
    [
        ("reviews", None, "loo", True),  # made before there was another
        ("reviews", "loo", "random", False),
        ("reviews", "loo", "temporal", False),
        ("reviews", "random", "random", True),
        ("reviews", "random", "loo", False),
        ("attributes", None, "temporal", True),
        ("attributes", "loo", "random", False),
        ("attributes", "random", "loo", True),
        ("columns", None, "random", True),
    ],
)
def test_explanations_made_for_another_split_are_refused(tmp_path, source, made_for, scheme, clean):
    made = {} if made_for is None else {"split": made_for}
    facts = {"explanation_source": source, "explanations": made}
    (tmp_path / "prepare.json").write_text(json.dumps(facts))
    if clean:
        check_split(tmp_path, scheme)
        return
    with pytest.raises(
        UserError, match=rf"--split {scheme}: the explanations in .* prepare … --split {scheme}"
    ):
        check_split(tmp_path, scheme)


# ------------------------------------------------------------------- the marks


def test_tables_and_cards_name_it():
    ours, theirs = row(value=0.5), row(value=0.7, scheme="random")
    assert "Split" not in readme_table([ours])
    table = readme_table([theirs])
    assert table.startswith(f"Split: {MARK}.\n\n| task |") and "**0.7000**" in table
    first, second = readme_table([ours, theirs]).split(f"\n\nSplit: {MARK}.\n\n")
    assert first.startswith("Split: loo.\n\n| task |") and "0.7000" not in first and "**0.5000**" in first
    assert "**0.7000**" in second and "0.5000" not in second
    card = fill_model_card(card_template(), [theirs], INFO.copy(split="random"))
    assert card.count(MARK) >= 3  # in front matter, facts and table
    assert split_label("loo") == "loo"


def test_a_report_names_it_and_is_about_one_split(tmp_path):
    write_report(tmp_path / "one.html", [row(scheme="random")])
    assert "split random 8:1:1 (P5&#x27;s; leaks the future)" in (tmp_path / "one.html").read_text()
    with pytest.raises(UserError, match=r"mix the splits loo, random: .*one report per split"):
        write_report(tmp_path / "two.html", [row(), row(scheme="random")])


# ------------------------------------------------------------------- the whole


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    folder = tmp_path_factory.mktemp("random")
    for step in (
        f"prepare simulated --users 60 --items 160 --out {folder}/data",
        f"finetune --data {folder}/data --out {folder}/model --split random --max_steps 2 --epoch_size 200",
    ):
        assert main(step.split()) == 0, step
    return folder


def test_the_commands(road, capsys):
    tasks = "--tasks rating/score,review/score,sequential/next_item --limit 40"
    step = f"evaluate --data {road}/data --model {road}/model --out {road}/results.json {tasks}"
    assert main(step.split()) == 0
    said = capsys.readouterr().out
    assert f"split: {MARK}" in said and "sequential/next_item is off: the random split is not in time" in said
    rows = json.loads((road / "results.json").read_text())
    assert {one["scheme"] for one in rows} == {"random"} and {one["family"] for one in rows} == {
        "rating",
        "review",
    }
    assert {"p5t5", "bias"} <= {one["model"] for one in rows}
    step = f"report --results {road}/results.json --model {road}/model --out {road}/report.html"
    assert main(step.split()) == 0
    assert MARK in (road / "model" / "README.md").read_text()
    info = json.loads((road / "model" / "p5t5.json").read_text())
    assert info["split"] == "random" and not any(name.startswith(("seq", "direct")) for name in info["tasks"])


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (
            "evaluate --data {road}/data --model {road}/model --out {road}/x.json --fusion true",
            "random split has none",
        ),
        ("update --data {road}/more --model {road}/model --out {road}/x", "only be used with its own data"),
        ("evaluate --data {road}/more --model {road}/model --out {road}/x.json", "."),
        ("finetune --data {road}/data --model {road}/model --out {road}/x --split loo", "--split"),
        ("finetune --data {road}/data --out {road}/x --split random --tasks direct=1", "no task is left"),
    ],
)
def test_what_it_cannot_do_is_refused(road, capsys, command, told):
    if not (road / "more").exists():
        assert main(f"prepare simulated --users 64 --items 160 --out {road}/more".split()) == 0
    assert main(command.format(road=road).split()) == 2
    complaint = capsys.readouterr().err.strip().splitlines()[-1]
    assert told in complaint and "Traceback" not in complaint


def test_split_by_knows_it(road):
    data = load(road / "data")
    assert (split_by("random", data).part == at_random(data).part).all()
    assert isinstance(split_by("random", data).history(np.array([0]), 5), Ragged)
