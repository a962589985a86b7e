"""Explanations from reviews: pieces by hand, words learnt from training reviews only, what `prepare` makes of them."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.small_data import hostile

pytest.importorskip("textblob")

from p5t5.cli.prepare import main
from p5t5.data.explanations import build as explaining
from p5t5.data.explanations.build import explained
from p5t5.data.explanations.english import English
from p5t5.data.explanations.features import LEAST_SUPPORT, Words, fit_words
from p5t5.data.explanations.reviews import Explanation, explain
from p5t5.data.explanations.sentences import FEWEST_WORDS, MOST_WORDS, sentences, tokens
from p5t5.data.records.building import make_records
from p5t5.data.records.cleaning import clean_text
from p5t5.data.records.loading import load, load_records
from p5t5.metrics.text import feature_match

PLACES = ["here", "again", "indeed", "together", "anyway", "somewhat", "there", "then"]
OPINIONS = {1: "terrible", 2: "bad", 3: "decent", 4: "good", 5: "great"}


@pytest.fixture(scope="module")
def english():
    return English()


@pytest.mark.parametrize(
    ("review", "expected"),
    [
        ("The strap is great.The cable broke after a week!!! ok", ["The strap is great.", "The cable broke after a week!"]),
        ("It fits my guitar vs. the other one. Too short.", ["It fits my guitar vs. the other one."]),
        ("- and the price is right ...", ["the price is right ."]),
        ("< br />The tone is warm< /b > and clear", ["The tone is warm and clear"]),
        ("I would buy it again, but " + "the " * 26 + "end", ["I would buy it again"]),
        ("", []),
    ],
)  # fmt: skip
def test_sentences(review, expected):
    assert sentences(review) == expected


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(hostile, st.sampled_from(["The tone is great.", "but", "good strap", ";", "(!"]))))
def test_whatever_people_write(pieces):
    review = clean_text(" ".join(pieces))
    for sentence in sentences(review):
        assert clean_text(sentence) == sentence and FEWEST_WORDS <= len(sentence.split()) <= MOST_WORDS
    found = explain(review, Words({"tone": 9, "strap": 3}, {"great": 1.0, "good": 0.7}), 1)
    if found:
        assert found.sentence in sentences(review)
        assert feature_match([found.sentence], [found.feature]).tolist() == [1.0]
        assert found.opinion in tokens(found.sentence)


def test_words_by_hand(english):
    reviews = [
        "The strap is great on stage. The strap is great on stage.",
        "A great strap for my guitar. I bought it at that time, a great time.",
        "My great strap is sturdy enough. It works great for me.",
        "This one is sturdy and safe. The strap lasted a week in the rain.",
        "Such sturdy things last for ever. Another great Fender guitar for him. That Fender case is great too.",
        "My old guitar needs a great Fender amp.",
    ]
    words = fit_words(reviews, english)
    # "time" and "works" are general; "Fender" is a name; the sentence that is there twice counts once; in the
    # fourth review no opinion stands near the strap. "guitar": reviews 2, 5 and 6.
    assert words.features == {"strap": 3, "guitar": 3}
    assert "great" in words.opinions and words.opinions["great"] > 0.5
    assert words.opinions.get("sturdy") is None  # said of something twice: LEAST_SUPPORT is 3
    assert LEAST_SUPPORT == 3
    more = fit_words([*reviews, "This clip is very sturdy here."], english)
    assert more.opinions["sturdy"] == 0.0


def test_the_best_sentence():
    words = Words({"tone": 100, "strap": 3, "strap lock": 3}, {"great": 0.8, "awful": -1.0, "sturdy": 0.0})
    assert explain("The tone here is great. A great strap it is.", words) == Explanation(
        "tone", "great", "The tone here is great."
    )
    assert explain("The tone here is great. The tone is really awful though.", words, -1).opinion == "awful"
    assert explain("The strap lock is sturdy enough.", words).feature == "strap lock"
    assert explain("The tone is a thing of seven more words great.", words) is None  # too far
    assert explain("It is great, I am sure.", words) is None
    assert explain("Great tone", words) is None  # too short


def shop(change=lambda user, place, text: text):
    rows = []
    for user in range(12):
        for place in range(5):
            feature = ("strap", "tone", "cable")[(user + place) % 3]
            stars = 1 + (user + place) % 5
            text = f"The {feature} is {OPINIONS[stars]} {PLACES[(user * 3 + place) % 8]} by day {user}."
            rows.append((f"u{user:02}", f"i{place}", stars, place, change(user, place, text)))
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp", "review"])
    return make_records("shop", table)


def test_nothing_of_the_last_two_interactions_gets_into_the_others():
    before = explained(shop())
    assert set(before.info["explanations"]["features"]) == {"strap", "tone", "cable"}
    changed = explained(
        shop(lambda user, place, text: "The humbug is great and the humbug is awful." * (place > 2) or text)
    )
    assert before.info["explanations"]["features"] == changed.info["explanations"]["features"]
    first = before.interactions["timestamp"] <= 2
    for column in ("feature", "explanation"):
        assert before.interactions[column][first].tolist() == changed.interactions[column][first].tolist()
        assert set(changed.interactions[column][~first]) == {
            ""
        }  # a humbug is no feature of the training reviews
    assert (before.interactions["explanation"] != "").all()


def test_it_says_what_it_did_and_stays_when_the_folder_is_read(tmp_path):
    records = explained(shop())
    assert records.info["explanation_source"] == "reviews"
    assert records.info["steps"][-1].startswith(
        "explanations from reviews: a sentence of 60 of 60 reviews (textblob "
    )
    records.write(tmp_path / "data")
    again = load_records(tmp_path / "data")
    assert again.info["explanation_source"] == "reviews" and again.info["explanations"]["rows"] == 60
    assert load(tmp_path / "data").texts["feature"][0] in ("strap", "tone", "cable")
    assert explained(again).info["explanation_source"] == "columns"  # never made twice


def test_without_the_library_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(explaining, "is_installed", lambda: False)
    records = explained(shop())
    assert "explanation" not in records.interactions
    assert records.info["steps"] == [
        "explanations left out: reading the reviews needs TextBlob; pip install 'p5t5[explanations]'"
    ]


def test_reviews_that_tell_nothing_leave_it_to_the_attributes():
    records = shop(lambda user, place, text: "gut und schön war es wirklich")
    assert "no explanations from the reviews" in explained(records).info["steps"][-1]


def written(tmp_path, records):
    tmp_path.mkdir(exist_ok=True)
    records.interactions.to_csv(tmp_path / "rows.csv", index=False)
    return str(tmp_path / "rows.csv")


def test_prepare_table_makes_them_unless_told_not_to(tmp_path, capsys):
    path = written(tmp_path, shop())
    assert main(["table", path, "--out", str(tmp_path / "with")]) == 0
    assert "step: explanations from reviews: a sentence of 60 of 60" in capsys.readouterr().out
    facts = json.loads((tmp_path / "with" / "prepare.json").read_text())
    assert facts["explanation_source"] == "reviews" and facts["explanations"]["features"]["tone"] > 3
    assert main(["table", path, "--out", str(tmp_path / "without"), "--explanations", "false"]) == 0
    assert "explanation" not in load_records(tmp_path / "without").interactions
    assert main(["table", path, "--out", str(tmp_path / "x"), "--explanations", "maybe"]) == 2
    error = capsys.readouterr().err
    assert "--explanations" in error and "maybe" in error


def test_prepare_table_reads_columns_that_are_there(tmp_path, capsys):
    table = explained(shop()).interactions.rename(columns={"feature": "Aspect", "explanation": "why"})
    table.to_csv(tmp_path / "rows.csv", index=False)
    arguments = ["table", str(tmp_path / "rows.csv"), "--explanation", "why", "--out", str(tmp_path / "data")]
    assert main(arguments) == 0
    assert "feature = Aspect (by its name), explanation = why (named)" in capsys.readouterr().out
    folder = load_records(tmp_path / "data")
    assert folder.info["explanation_source"] == "columns"
    assert folder.interactions["explanation"].tolist() == table["why"].tolist()
    assert folder.interactions["feature"].tolist() == table["Aspect"].tolist()


def test_a_feature_without_an_explanation_is_not_guessed(tmp_path):
    table = shop().interactions.drop(columns="review").assign(feature="f")
    table.to_csv(tmp_path / "rows.csv", index=False)
    assert main(["table", str(tmp_path / "rows.csv"), "--out", str(tmp_path / "data")]) == 0
    assert "feature" not in load_records(tmp_path / "data").interactions
