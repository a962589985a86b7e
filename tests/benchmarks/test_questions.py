"""benchmarks/questions.py: its rows obey the schema and name items that exist, and its measures, by hand."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from support.paths import ROOT

spec = importlib.util.spec_from_file_location("benchmark_questions", ROOT / "benchmarks" / "questions.py")
bench = importlib.util.module_from_spec(spec)
sys.modules["benchmark_questions"] = bench
spec.loader.exec_module(bench)

INTENTS = {"recommend", "similar", "rate", "like", "verify", "choose", "explain", "headline", "review_score"}
INTENTS |= {"lookup", "help"}
KINDS = {"K4", "K5", "K6", "K7", "K13", "K24", "K25", "K26", "K27", "plain"}
TITLES = {"items", "liked", "disliked", "seen", "candidates"}
TEXTS = {"people", "unknown", "unclear", "unmet"}
READING = {*TITLES, *TEXTS, "intent", "ratings", "where", "without", "count", "newer_than", "older_than"}
READING |= {"language", "parts"}
ATTRIBUTES = {
    "movielens": {"genre", "year"},
    "shop": {"brand", "category", "price", "year"},
    "books": {"author", "genre", "year"},
}
ROWS = [(name, row) for name in bench.DATA_SETS for row in bench.load_questions(name)]
SECOND = [(name, row) for name in bench.DATA_SETS for row in bench.load_questions(name, "second")]


def plain_text(text):
    return re.sub(r"\W+", " ", text.casefold()).strip() or text


def titles_of(reading):
    named = [title for role in TITLES for title in reading.get(role, ())]
    named += list(reading.get("ratings", ()))
    return named + [reading[key] for key in ("newer_than", "older_than") if key in reading]


def check_condition(name, attribute, value, items):
    assert attribute in ATTRIBUTES[name] and isinstance(value, list) and value
    if attribute in ("year", "price"):
        low, high = value
        assert low is not None or high is not None
        assert all(end is None or isinstance(end, int) for end in value)
        assert low is None or high is None or low <= high
    elif items is not None:
        assert set(value) <= set(items[attribute])


def check_reading(name, reading, items):
    assert set(reading) <= READING and reading["intent"] in INTENTS
    assert all(value or value == 0 for value in reading.values()), "an empty key says nothing"
    for key in TITLES | TEXTS:
        values = reading.get(key, [])
        assert isinstance(values, list) and all(isinstance(v, str) for v in values)
        assert len(set(values)) == len(values)
    for title, (value, top) in reading.get("ratings", {}).items():
        assert isinstance(title, str) and value >= 0 and (top is None or value <= top)
    for condition in ("where", "without"):
        for attribute, value in reading.get(condition, {}).items():
            check_condition(name, attribute, value, items)
    for title in titles_of(reading):
        assert title in set(items["title"]) if items is not None else re.fullmatch(r".+ \(\d{4}\)", title)
    taste = [set(reading.get(role, ())) for role in ("liked", "disliked", "seen")]
    assert sum(map(len, taste)) == len(set().union(*taste)), "one item, two feelings"
    assert reading["intent"] != "choose" or len([*reading["candidates"], *reading.get("unknown", ())]) >= 2
    assert reading["intent"] != "help" or set(reading) <= {"intent", "language"}
    assert len(reading.get("people", ())) < 2 or reading["intent"] == "recommend"
    assert reading.get("parts", 2) >= 2 and reading.get("count", 1) >= 1
    assert reading.get("language", "de") != "en"


@pytest.mark.parametrize("questions", bench.SETS)
@pytest.mark.parametrize("name", bench.DATA_SETS)
def test_every_row_obeys_the_schema_and_names_items_of_its_catalogue(name, questions):
    items = None if name == "movielens" else bench.load_items(name)
    if items is not None:
        assert items["item_id"].is_unique and items["title"].is_unique and not items.isna().any().any()
    for row in bench.load_questions(name, questions):
        try:
            assert (
                set(row) <= READING | {"text", "kind", "or"} and row["kind"] in KINDS and row["text"].strip()
            )
            for reading in (row, *row.get("or", ())):
                check_reading(
                    name, {k: v for k, v in reading.items() if k not in ("text", "kind", "or")}, items
                )
        except (AssertionError, KeyError) as error:
            raise AssertionError(f"{row['text']!r}: {error}") from error


def test_there_are_enough_questions_none_twice_and_about_a_third_is_held_out():
    texts = [row["text"] for _, row in ROWS]
    assert len(texts) >= 600
    assert len(set(map(plain_text, texts))) == len(texts)
    assert 0.28 <= sum(bench.part_of(text) == "held_out" for text in texts) / len(texts) <= 0.38
    assert 0.07 <= sum("language" in row for _, row in ROWS) / len(texts) <= 0.13


def test_the_second_set_repeats_nothing_has_every_kind_and_holds_about_half_out():
    texts = [row["text"] for _, row in SECOND]
    assert len({plain_text(row["text"]) for _, row in ROWS + SECOND}) == len(ROWS) + len(SECOND)
    assert {row["kind"] for _, row in SECOND} == KINDS
    assert 0.35 <= sum(bench.part_of(text, "second") == "held_out" for text in texts) / len(texts) <= 0.65


def test_the_split_follows_from_the_text_alone():
    assert bench.part_of("hello") == "dev"  # the first byte of its SHA-256 is 44
    assert bench.part_of("something funny") == "held_out"  # 114


def as_request(reading, titles):
    """The request that a perfect parser would give for a row."""
    request = {role: tuple(titles.index(t) for t in reading.get(role, ())) for role in bench.ROLES}
    request["ratings"] = {titles.index(t): tuple(v) for t, v in reading.get("ratings", {}).items()}
    for key in ("newer_than", "older_than"):
        request[key] = titles.index(reading[key]) if key in reading else None
    for key in TEXTS:
        request[key] = tuple(reading.get(key, ()))
    for key in ("where", "without"):
        request[key] = {k: tuple(v) for k, v in reading.get(key, {}).items()}
    request |= {"intent": reading["intent"], "count": reading.get("count")}
    return SimpleNamespace(
        **request, assumed=(), language=reading.get("language", "en"), parts=reading.get("parts", 1)
    )


@pytest.mark.parametrize("questions", bench.SETS)
@pytest.mark.parametrize("name", bench.DATA_SETS)
def test_a_perfect_parser_is_right_everywhere_in_each_reading(name, questions):
    for row in bench.load_questions(name, questions):
        readings = [row, *row.get("or", ())]
        titles = sorted({title for reading in readings for title in titles_of(reading)})
        for reading in readings:
            verdict = bench.judge(row, bench.reading_of_request(as_request(reading, titles), titles))
            assert verdict.right and not verdict.false_answer, row["text"]


ROW = {"text": "t", "kind": "K5", "intent": "similar", "items": ["A", "B"], "where": {"year": [None, 1959]}}
GOT = bench.readings_of_row(ROW)[0]


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"intent": "recommend"}, {"intent": False}),
        ({"roles": frozenset({("items", "A"), ("liked", "B")})}, {"hits": 1, "missed": 1, "extra": 1}),
        ({"where": {}}, {"conditions": False}),
        ({"where": {"year": (None, 1961)}}, {"conditions": False}),
        ({"count": 5}, {"conditions": False}),
        ({"older_than": "A"}, {"conditions": False}),
        ({"people": frozenset({"7"})}, {}),
        ({"ratings": {"C": (5.0, None)}}, {"extra": 1}),
    ],
)
def test_each_deviation_is_a_false_answer_unless_the_asker_is_told(change, wrong):
    got = replace(GOT, **change)
    verdict = bench.judge(ROW, got)
    assert verdict.false_answer and not verdict.right
    assert {name: getattr(verdict, name) for name in wrong} == wrong
    told = bench.judge(ROW, replace(got, noted=True))
    assert not told.false_answer and told.needless


def test_a_one_sided_bound_may_be_off_by_one_and_a_closed_range_may_not():
    assert bench.judge(ROW, replace(GOT, where={"year": (None, 1960)})).right
    closed = ROW | {"where": {"year": [1950, 1959]}}
    assert not bench.judge(closed, replace(GOT, where={"year": (1950, 1960)})).right


def test_another_reading_of_the_row_counts_as_right_but_never_a_mixture():
    row = ROW | {"or": [{"intent": "recommend", "liked": ["A"]}]}
    other = bench.Reading("recommend", frozenset({("liked", "A")}))
    assert bench.judge(row, other).right
    assert not bench.judge(row, replace(other, where={"year": (None, 1959)})).right


def test_a_rated_item_may_also_stand_under_liked_but_its_value_and_scale_count():
    row = {"text": "t", "kind": "K13", "intent": "recommend", "ratings": {"A": [9, 10]}}
    got = bench.Reading("recommend", frozenset({("liked", "A")}), ratings={"A": (9.0, 10)})
    assert bench.judge(row, got).right
    for rating in ((9.0, None), (5.0, 10), (9.0, 5)):
        assert bench.judge(row, replace(got, ratings={"A": rating})).false_answer
    assert bench.judge(row | {"ratings": {"A": [9, None]}}, got).right, (
        "a scale that was not said may be filled in"
    )


def test_help_is_judged_by_its_intent_alone_and_a_lookup_without_conditions():
    row = {"text": "t", "kind": "K25", "intent": "help", "language": "de"}
    got = bench.Reading("help", frozenset({("liked", "A")}), count=3, noted=True)
    assert bench.judge(row, got).right
    assert bench.judge(row, bench.Reading("recommend")).false_answer
    fact = {"text": "t", "kind": "K27", "intent": "lookup", "where": {"year": [1995, 1995]}}
    assert bench.judge(fact, bench.Reading("lookup")).right
    assert bench.judge(fact, bench.Reading("recommend")).false_answer


def test_silence_about_what_cannot_be_met_is_a_false_answer():
    row = {"text": "t", "kind": "K7", "intent": "recommend", "unknown": ["X"]}
    silent = bench.judge(row, bench.Reading("recommend"))
    assert silent.told is False and not silent.right and silent.false_answer
    assert bench.judge(row, bench.Reading("recommend", noted=True)).right


def test_the_measures_by_hand():
    right = bench.judge(ROW, GOT)  # two pairs hit
    half = bench.judge(ROW, replace(GOT, roles=frozenset({("items", "A"), ("liked", "B")}), where={}))
    refused = bench.judge(ROW, bench.ask(lambda text: None, "t", []))
    row = {"text": "t", "kind": "plain", "intent": "recommend"}
    plain = bench.judge(row, bench.Reading("recommend"))
    measures = bench.summary([right, half, refused, plain])
    assert measures == {
        "questions": 4,
        "right": 0.5,
        "intent": 0.75,
        "items_f1": round(2 * 3 / (2 * 3 + 3 + 1), 4),  # hit 2 + 1, missed 1 + 2, extra 1
        "conditions": round(1 / 3, 4),
        "conditions_all": 0.5,
        "told": None,
        "needless_notes": 0.25,
        "false_answers": 0.25,
    }


def test_attribute_names_and_values_are_compared_without_number_and_case():
    said = {"Genres": ("Comedy",), "year": 1995, "brand": "Strand"}
    assert bench._conditions(said) == {"genre": {"comedy"}, "year": (1995, 1995), "brand": {"strand"}}


def test_lines_of_the_other_part_are_kept(tmp_path):
    path = tmp_path / "results" / "questions.jsonl"
    verdicts = {"shop": [bench.judge(ROW, GOT)]}
    for part in ("dev", "held_out", "dev"):
        bench.write_lines(path, bench.result_lines(part, verdicts))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["part"] for line in lines] == ["held_out"] * 3 + ["dev"] * 3
    assert [(line["data"], line["kind"]) for line in lines[:3]] == [
        ("all", "all"),
        ("shop", "all"),
        ("all", "K5"),
    ]


def test_a_whole_run_shows_what_is_read_wrongly_and_writes_its_lines(tmp_path, monkeypatch, capsys):
    help_only = SimpleNamespace(**vars(as_request({"intent": "help"}, [])))
    monkeypatch.setattr(bench, "parser_for", lambda items: lambda text: help_only)
    out = tmp_path / "questions.jsonl"
    bench.main(["--data", "shop", "--show_wrong", "--out", str(out)])
    rows = [row for row in bench.load_questions("shop") if bench.part_of(row["text"]) == "dev"]
    total = json.loads(out.read_text().splitlines()[0])
    helps = sum("help" in [row["intent"], *(o["intent"] for o in row.get("or", ()))] for row in rows)
    assert total["questions"] == len(rows) and total["intent"] == pytest.approx(helps / len(rows), abs=1e-4)
    assert total["false_answers"] == 0.0 and total["told"] == 1.0 and total["needless_notes"] > 0.9
    printed = capsys.readouterr().out
    assert "intent: meant recommend, read help" in printed
    held_out = [row["text"] for row in bench.load_questions("shop") if row not in rows]
    assert held_out and not any(f"  {text}\n" in printed for text in held_out)


def test_held_out_questions_are_never_shown(capsys):
    with pytest.raises(SystemExit) as stop:
        bench.main(["--part", "held_out", "--show_wrong"])
    assert stop.value.code == 2 and "tunes on them" in capsys.readouterr().err


def test_without_movielens_it_says_how_to_get_it(tmp_path):
    with pytest.raises(SystemExit, match="p5t5 prepare ml-100k"):
        bench.load_items("movielens", tmp_path)
