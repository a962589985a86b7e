"""The judge of benchmarks/doors.py: right readings and helpful refusals pass, everything else fails."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import doors
from common import doors_data, doors_questions
from common.doors_run import Outcome
from common.doors_truth import at, differs, truth

HEAD = "user_id,item_id,rating,timestamp"
ROWS = [(f"u{user}", f"i{item}", item % 5 + 1, 1_500_000_000 + 90_000 * item) for user in range(6) for item in range(8)]  # fmt: skip


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    text = "\n".join([HEAD, *(",".join(map(str, row)) for row in ROWS)])
    (tmp_path / "good.csv").write_text(text + "\n")
    (tmp_path / "swapped.csv").write_text(text.replace("u1,i2,3", "u1,i2,4") + "\n")
    (tmp_path / "no_user.csv").write_text("item_id\ni1\ni2\n")
    head = "case\tkind\tinput\texpected\tgot\n"
    rows = ["T1\tK2\tgood.csv\tread\t", "T2\tK2\tswapped.csv\tread\t", "T3\tK9\tno_user.csv\trefused\t"]
    (tmp_path / "cases.tsv").write_text(head + "\n".join(rows) + "\n")
    return tmp_path


WANT = doors_data.cells("good.csv")
REFUSED = ("users", "--user")


@pytest.mark.parametrize(
    ("check", "right"),
    [
        (doors_data.table("good.csv", WANT), True),
        (doors_data.table("swapped.csv", WANT), False),
        (doors_data.table("good.csv", WANT, ratings="none"), False),
        (doors_data.table("good.csv", WANT, remark=("words that nobody prints",)), False),
        (doors_data.table("good.csv", refusal=REFUSED, also=lambda _: "was to be refused"), False),
        (doors_data.table("no_user.csv", WANT, REFUSED), True),
        (doors_data.table("no_user.csv", WANT, (*REFUSED, "--no_such_option")), False),
        (doors_data.table("no_user.csv", WANT, REFUSED, unless=("users",)), False),
        (doors_data.table("no_user.csv", WANT), False),
    ],
)
def test_a_reading_is_right_only_as_the_file_says_and_a_refusal_only_in_its_words(cases, check, right):
    assert (check(cases)[0] == "") == right


def test_the_runner_keeps_a_line_a_kind_beside_those_of_other_kinds(cases, monkeypatch, capsys):
    good, bad = doors_data.table("good.csv", WANT), doors_data.table("swapped.csv", WANT)
    monkeypatch.setattr(doors_data, "CHECKS", {"T1": (good,), "T2": (good, bad)})
    out = cases / "doors.jsonl"
    out.write_text('{"case": "K1", "value": 1.0, "detail": {}}\n{"case": "K2", "value": 1.0, "detail": {}}\n')
    assert doors.main(["--cases", str(cases), "--out", str(out), "--show"]) == 0
    kept = {line["case"]: line for line in map(json.loads, out.read_text().splitlines())}
    assert {kind: line["value"] for kind, line in kept.items()} == {"K1": 1.0, "K2": 0.5, "K9": 0.0}
    assert kept["K2"]["detail"]["wrong"] == ["T2"] and kept["K2"]["detail"]["commit"]
    shown = capsys.readouterr().out
    assert (
        "no check" in shown and "input 2 of 2: other ratings" in shown and "1 of 3 cases are right" in shown
    )


def frame(times: list[float], items: str = "abc") -> pd.DataFrame:
    return pd.DataFrame(
        {"user_id": ["u"] * 3, "item_id": list(items), "rating": [1.0, 2.0, 3.0], "timestamp": times}
    )


@pytest.mark.parametrize(
    ("got", "wrong"),
    [
        (frame([100, 200, 300]), ""),
        (frame([3700, 3800, 3900]), ""),  # another zone
        (frame([100, 300, 200]), "another order"),
        (frame([0, 0, 0]), "another order"),  # floored to days
        (frame([100 + 1e6, 200 + 1e6, 300 + 1e6]), "other times"),
        (frame([100, 200, 300], "abb"), "other users or items"),
        (frame([100, 200, 300]).drop(columns="timestamp"), "no time"),
        (frame([100, 200, 300]).iloc[:2], "2 rows instead of 3"),
    ],
)
def test_times_must_keep_their_order(got, wrong):
    want = truth(
        [("u", "a", 1, "100"), ("u", "b", 2, "200"), ("u", "c", 3, "300")], 0, 1, 2, at(3, "seconds")
    )
    out = Outcome(0, "")
    out.__dict__["interactions"] = got
    assert differs(out, want).startswith(wrong) and bool(differs(out, want)) == bool(wrong)


class Fake(doors_questions.World):
    """Answers with what it was given; films 0 (most popular) to 99."""

    def __init__(self, kind="items", items=(), text="", notes=(), linked=(), value=None) -> None:
        titles = [f"Film {place} (1990)" for place in range(100)]
        self.items = pd.DataFrame({"item_id": map(str, range(100)), "genres": "Drama"}, index=titles)
        ids = [str(item) for item in range(100) for _ in range(100 - item)]
        self.interactions = pd.DataFrame({"item_id": ids})
        found = [SimpleNamespace(title=title) for title in items]
        answer = SimpleNamespace(kind=kind, items=found, text=text, notes=notes, linked=linked, value=value)
        self.data, self.recommender = Path("-"), lambda *a, **b: answer


@pytest.mark.parametrize(
    ("kind", "question", "right", "wrong"),
    [
        ("K4", "I need a movie like Fargo", {"items": ["Heat (1995)"]}, {"items": ["Fargo (1996)"]}),
        ("K4", "I need a movie like Fargo", {"items": ["Heat (1995)"]}, {"kind": "text", "text": "like"}),
        ("K5", "recommend me 3 comedies", {"items": ["Film 1 (1990)"], "notes": ["3 comedies: not kept"]}, {"items": ["Film 1 (1990)"] * 3}),
        ("K6", "I can't stand Star Wars.", {"items": ["Heat (1995)"]}, {"items": ["Return of the Jedi (1983)"]}),
        ("K7", "What's a good movie?", {"items": ["Film 3 (1990)"], "notes": ["what most people like"]}, {"items": ["Film 3 (1990)"]}),
        ("K7", "What's a good movie?", {"items": ["Film 3 (1990)"], "notes": ["most people"]}, {"items": ["Film 60 (1990)"], "notes": ["most people"]}),
        ("K13", "How would I rate Heat if I rated Fargo 9/10", {"value": 3.0, "notes": ["read as of 10"]}, {"kind": "text", "text": "3"}),
        ("K24", "I loved Godfather II, what next?", {"linked": ["Godfather: Part II, The (1974)"]}, {"linked": ["Godfather, The (1972)"]}),
        ("K25", "hello", {"kind": "text", "text": "You can ask for films"}, {"kind": "text", "text": "3"}),
        ("K26", "user 1 and user 2 together", {"notes": ["user 2 was left out"]}, {"items": ["Film 1 (1990)"]}),
        ("K27", "Who directed Heat?", {"kind": "text", "text": "I don't know facts"}, {"kind": "text", "text": "Mann"}),
    ],
)  # fmt: skip
def test_each_kind_of_question_knows_right_from_wrong(kind, question, right, wrong):
    judge = doors_questions.JUDGES[kind]
    assert judge(Fake(**right), question)[0]
    assert not judge(Fake(**wrong), question)[0]
