from dataclasses import replace

import numpy as np
import pytest
from support.tiny_data import by_hand

from p5t5.baselines.text import TrainingTexts, first_sentence, most_common_text, text_baselines
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import Split, leave_one_out
from p5t5.evaluation.baselines import evaluate_baselines
from p5t5.evaluation.results import find
from p5t5.metrics.text import feature_match, words


@pytest.fixture(scope="module")
def split():
    return leave_one_out(simulate(users=40, items=30, seed=3).data)


def answers(split, task, seed=0):
    rows = split.rows("test")
    return rows, dict(text_baselines(split, task, rows, seed))


def test_which_there_are(split):
    assert [*answers(split, "explanation/explain")[1]] == [
        "most_common_text",
        "random_of_item",
        "nearest_text",
    ]
    hinted = [*answers(split, "explanation/explain_feature")[1]]
    assert hinted[3:] == ["gold_feature", "nearest_with_feature"]
    assert [*answers(split, "review/headline")[1]] == ["most_common_text", "first_sentence"]


@pytest.mark.parametrize("task", ["explanation/explain", "explanation/explain_feature", "review/headline"])
def test_only_training_rows_enter(split, task):
    """Poisoned answers of validation and test rows change nothing; a row's own review and hint are its question."""
    column = "summary" if task == "review/headline" else "explanation"
    held = split.part != 0
    texts = dict(split.data.texts)
    texts[column] = ["poison" if bad else text for text, bad in zip(texts[column], held, strict=True)]
    if task != "review/headline":
        texts["review"] = ["poison" if bad else text for text, bad in zip(texts["review"], held, strict=True)]
    poisoned = Split(replace(split.data, texts=texts), split.scheme, split.part)
    assert answers(poisoned, task)[1] == answers(split, task)[1]


def test_every_answer_is_a_training_text(split):
    rows, found = answers(split, "explanation/explain_feature")
    known = {split.data.texts["explanation"][row] for row in split.rows("train")}
    for name in ("most_common_text", "random_of_item", "nearest_text", "nearest_with_feature"):
        assert len(found[name]) == len(rows) and set(found[name]) <= known
    features = [split.data.texts["feature"][row] for row in rows]
    assert found["gold_feature"] == features
    assert feature_match(found["nearest_with_feature"], features).mean() > 0.9
    assert len(set(found["most_common_text"])) == 1 < len(set(found["nearest_text"]))


def test_a_random_text_is_the_items_and_drawn_by_the_seed(split):
    rows, found = answers(split, "explanation/explain")
    data, train = split.data, split.rows("train")
    for row, text in zip(rows.tolist(), found["random_of_item"], strict=True):
        own = {data.texts["explanation"][r] for r in train.tolist() if data.item[r] == data.item[row]}
        assert text in own or not own
    assert answers(split, "explanation/explain", seed=1)[1]["random_of_item"] != found["random_of_item"]


def test_the_nearest_is_the_one_that_a_slow_search_finds(split):
    known = TrainingTexts(split, "explanation")
    rows = split.rows("test")
    data, train = split.data, split.rows("train").tolist()

    def profile(column, owner):
        """TF-IDF by the formula, in dictionaries."""
        counts = {}
        for row in train:
            own = counts.setdefault(int(column[row]), {})
            for word in words(data.texts["review"][row]):
                own[word] = own.get(word, 0) + 1
        total = data.number_of_users if column is data.user else data.number_of_items
        having = {w: sum(w in other for other in counts.values()) for own in counts.values() for w in own}
        own = {w: np.log1p(c) * np.log(total / having[w]) for w, c in counts.get(owner, {}).items()}
        norm = np.sqrt(sum(v * v for v in own.values()))
        return {w: v / norm for w, v in own.items()}

    def cosine(column, a, b):
        if a == b:
            return 1.0
        left, right = profile(column, int(a)), profile(column, int(b))
        return sum(v * right.get(w, 0.0) for w, v in left.items())

    for row, text in zip(rows[:6].tolist(), known.nearest(rows[:6]), strict=True):
        user, item = data.user[row], data.item[row]
        scores = [
            (cosine(data.user, user, data.user[r]) + cosine(data.item, item, data.item[r]), r)
            for r in train
            if data.user[r] == user or data.item[r] == item
        ]
        best = max(score for score, _ in scores)
        assert text in {data.texts["explanation"][r] for score, r in scores if score > best - 1e-9}


def test_by_hand():
    split = by_hand()
    rows = split.rows("test")  # user 0 item 4, user 1 item 1
    assert most_common_text(split, "explanation") == "the bright strings"  # the first of those said once
    known = TrainingTexts(split, "explanation")
    assert known.texts == ["the bright strings", "the soft strings", "the new amp"]
    assert known.nearest(rows)[1] == "the new amp"  # the only one of user 1; item 1 has none
    assert known.nearest_with(rows, ["strings", "amp"])[1] == "the new amp"
    assert known.nearest_with(rows, ["piano", ""]) == ["", ""]


def test_first_sentences():
    assert first_sentence("It works. It is cheap.", 5) == "It works."
    assert first_sentence("  one two three four", 2) == "one two"
    assert first_sentence("", 3) == ""


def test_without_training_texts():
    split = by_hand()
    texts = {**split.data.texts, "explanation": ["" for _ in split.data.user]}
    empty = Split(replace(split.data, texts=texts), split.scheme, split.part)
    assert list(text_baselines(empty, "explanation/explain", split.rows("test"))) == [
        ("most_common_text", ["", ""])
    ]


def test_they_stand_in_the_results(split):
    out = evaluate_baselines(split, tasks=("explanation/explain_feature",), with_implicit=False)
    alone = {
        metric: find(out.rows, model="gold_feature", metric=metric) for metric in ("feature_match", "length")
    }
    assert alone["feature_match"]["value"] == 1 and 0 < alone["length"]["value"] < 3
    assert alone["length"]["protocol"] == "text" and alone["length"]["ci95"]
    nearest, common = (
        find(out.rows, model=name, metric="rouge1")["value"]
        for name in ("nearest_with_feature", "most_common_text")
    )
    assert nearest > common
