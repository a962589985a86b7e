"""`p5t5 query` and `p5t5 recommend`: what they print and write, and what they say to bad input."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import pytest

from p5t5.checkpoint.creation import create_checkpoint
from p5t5.cli import query, recommend
from p5t5.data.records.building import make_records
from p5t5.data.records.loading import load
from p5t5.data.splits import leave_one_out
from p5t5.recommender import Recommender
from p5t5.text.prompts import load_prompts

FILMS = ["Alien (1979)", "Fargo (1996)", "Heat (1995)", "Speed (1994)", "Babe (1995)", "Contact (1997)"]
QUESTION = "I loved Alien (1979) and Fargo (1996). What should I watch next?"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """(model, data) folders of a tiny untrained model."""
    root = tmp_path_factory.mktemp("ask")
    random = np.random.default_rng(0)
    rows = [
        {
            "user_id": f"u{user}",
            "item_id": f"f{item}",
            "rating": int(random.integers(1, 6)),
            "timestamp": time,
        }
        for user in range(5)
        for time, item in enumerate(random.permutation(len(FILMS))[:4])
    ]
    items = pd.DataFrame({"item_id": [f"f{item}" for item in range(len(FILMS))], "title": FILMS})
    records = make_records("films", pd.DataFrame(rows), items, all_items=True)
    records.write(root / "data")
    split = leave_one_out(records.index())
    checkpoint = create_checkpoint(split, load_prompts(), model="tiny", vocabulary_size=400)
    checkpoint.info.tasks = ["rating/score", "rating/like", "sequential/next_item"]
    checkpoint.save(root / "model")
    return str(root / "model"), str(root / "data")


def run(command, *argv: str) -> int:
    return command.main(list(argv))


def test_query_prints_the_answer_and_how_it_was_understood(folders, capsys):
    assert run(query, QUESTION, "Would user u1 like Heat?", "--model", folders[0], "--k", "3") == 0
    out = capsys.readouterr().out
    best = Recommender.from_pretrained(folders[0])(QUESTION, k=3)
    for place, item in enumerate(best.items, 1):
        assert f"{place:4d}. {item.title}  [{item.item_id}]  {item.score:.2f}" in out
    assert f"prompt {best.prompt} (sequential/next_item, similarity" in out
    assert "? Would user u1 like Heat?\n  = like (" in out or "  = dislike (" in out


def test_query_as_json_with_data(folders, capsys):
    model, data = folders
    asked = "What should user u1 watch next?"
    assert run(query, "--model", model, "--text", asked, QUESTION, "--data", data, "--k", "2", "--json") == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["question"], first["kind"], len(first["items"])) == (asked, "items", 2)
    assert [item["title"] for item in first["items"]] == [
        item.title for item in Recommender.from_pretrained(model).recommend(user="u1", data=data, k=2)
    ]
    assert second["linked"] == ["Alien (1979)", "Fargo (1996)"] and second["prompt"]


def test_query_reads_questions_from_standard_input(folders, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{QUESTION}\n\nWhat next?\n"))
    assert run(query, "--model", folders[0], "--k", "1") == 0
    assert capsys.readouterr().out.count("\n   1. ") == 2


def test_a_question_that_cannot_be_asked_leaves_the_others(folders, capsys, monkeypatch):
    text = "\u200b\x07\nWhat should I watch next?\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert run(query, "--model", folders[0], "--k", "1") == 2
    first, *others = capsys.readouterr().out.split("\n? ")
    assert "\n  ! the question is empty" in first and len(others) == 1 and "\n   1. " in others[0]
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert run(query, "--model", folders[0], "--k", "1", "--json") == 2
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert "is empty" in first["error"] and second["kind"] == "items"
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert run(query, "--model", folders[0], "--k", "99") == 2
    shown = capsys.readouterr()
    assert shown.out == "" and "between 1 and the catalogue's 6 items" in shown.err


def test_query_in_a_terminal_ends_at_an_empty_line(folders, capsys, monkeypatch):
    lines = io.StringIO("What next?\n\nnever read\n")
    lines.isatty = lambda: True
    monkeypatch.setattr("sys.stdin", lines)
    assert run(query, "--model", folders[0], "--k", "1") == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("? What next?\n") and "never read" not in shown.out
    assert "Ask, one question" in shown.err


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_recommend_writes_all_users(folders, tmp_path, capsys, suffix):
    model, data = folders
    out = tmp_path / "new" / f"top.{suffix}"
    assert run(recommend, "--model", model, "--data", data, "--out", str(out), "--k", "2") == 0
    read = {
        "csv": pd.read_csv,
        "parquet": pd.read_parquet,
        "jsonl": lambda path: pd.read_json(path, lines=True),
    }[suffix]
    table = read(out)
    assert table.columns.tolist() == ["user_id", "rank", "item_id", "title", "score"]
    assert table["user_id"].tolist() == [f"u{user}" for user in range(5) for _ in range(2)]
    assert table["rank"].tolist() == [1, 2] * 5
    recommender = Recommender.from_pretrained(model)
    best = recommender.recommend_many([f"u{user}" for user in range(5)], data, k=2)
    assert table["title"].tolist() == [item.title for items in best for item in items]
    assert np.allclose(table["score"], [item.score for items in best for item in items], atol=1e-5)
    assert "10 recommendations for 5 users" in capsys.readouterr().out
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_recommend_leaves_out_what_was_seen_unless_told(folders, tmp_path):
    model, data = folders
    records = load(data)
    out = str(tmp_path / "top.csv")
    assert run(recommend, "--model", model, "--data", data, "--out", out, "--k", "6", "--users", "u3") == 0
    seen = {
        records.titles[item] for item in records.item[records.user == records.user_ids.tolist().index("u3")]
    }
    assert set(pd.read_csv(out)["title"]) == set(FILMS) - seen
    arguments = [
        "--model",
        model,
        "--data",
        data,
        "--out",
        out,
        "--k",
        "6",
        "--users",
        "u3",
        "--include_seen",
    ]
    assert run(recommend, *arguments) == 0
    assert set(pd.read_csv(out)["title"]) == set(FILMS)


def test_recommend_for_a_file_of_users(folders, tmp_path, capsys):
    model, data = folders
    wanted = tmp_path / "users.txt"
    wanted.write_text("u4\n\nu0\nu4\n", "utf-8-sig")
    out = str(tmp_path / "top.csv")
    arguments = ["--model", model, "--data", data, "--out", out, "--k", "1", "--users_file", str(wanted)]
    assert run(recommend, *arguments) == 0
    assert pd.read_csv(out)["user_id"].tolist() == ["u4", "u0"]


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--k", "7"], "k is 7, but must lie between 1 and the catalogue's 6 items"),
        (["--users", "u1", "nobody"], "nobody not among the 5 users"),
        (["--out", "top.txt"], "must end in .parquet, .csv or .jsonl"),
        (["--users_file", "nowhere.txt"], "there is no file nowhere.txt"),
        (["--data", "nowhere"], "nowhere is no data folder"),
        (["--model", "/"], "not a p5t5 checkpoint"),
        (["--token_budget", "0"], "must be at least 1"),
    ],
)
def test_recommend_says_what_is_wrong_in_one_line(folders, tmp_path, capsys, argv, message):
    model, data = folders
    out = tmp_path / "top.csv"
    assert run(recommend, "--model", model, "--data", data, "--out", str(out), *argv) == 2
    error = capsys.readouterr().err
    (line,) = [line for line in error.splitlines() if line.startswith("p5t5 recommend: ")]
    assert message in line and "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_a_file_of_users_that_is_no_text(folders, tmp_path, capsys):
    (tmp_path / "users.txt").write_bytes(b"M\xfcller\n")
    arguments = ["--model", folders[0], "--data", folders[1], "--out", str(tmp_path / "top.csv")]
    assert run(recommend, *arguments, "--users_file", str(tmp_path / "users.txt")) == 2
    assert "users.txt is not UTF-8 text" in capsys.readouterr().err


def test_an_empty_file_of_users(folders, tmp_path, capsys):
    (tmp_path / "users.txt").write_text("\n")
    arguments = ["--model", folders[0], "--data", folders[1], "--out", str(tmp_path / "top.csv")]
    assert run(recommend, *arguments, "--users_file", str(tmp_path / "users.txt")) == 2
    assert "holds no user id" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv, message",
    [
        (["What next?", "--k", "0"], "k is 0"),
        ([" ", "--k", "1"], "the question is empty"),
        (["What should user u1 watch next?", "--k", "2", "--data", "nowhere"], "nowhere is no data folder"),
    ],
)
def test_query_says_what_is_wrong_in_one_line(folders, capsys, argv, message):
    assert run(query, *argv, "--model", folders[0]) == 2
    assert message in capsys.readouterr().err


def test_a_failed_write_leaves_nothing(folders, tmp_path, monkeypatch, capsys):
    def broken(frame, path, **options):
        path.write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(pd.DataFrame, "to_csv", broken)
    arguments = ["--model", folders[0], "--data", folders[1], "--out", str(tmp_path / "top.csv"), "--k", "1"]
    assert run(recommend, *arguments) != 0
    assert "disk full" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [query, recommend])
def test_help_shows_an_example(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(command, "--help")
    assert stopped.value.code == 0
    assert f"example:\n  p5t5 {command.__name__.rsplit('.', 1)[-1]}" in capsys.readouterr().out
