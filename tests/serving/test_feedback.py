"""What people did is kept as lines that prepare reads, and counts at once."""

from __future__ import annotations

import errno
import json
import os

import pandas as pd
import pytest

from p5t5.cli.main import main
from p5t5.core.errors import UserError
from p5t5.serving import feedback as module
from p5t5.serving.feedback import Feedback, StorageFull


def lines(folder) -> list[dict]:
    return [
        json.loads(line)
        for path in sorted(folder.glob("feedback-*.jsonl"))
        for line in path.read_text("utf-8").splitlines()
    ]


def test_a_line_is_written_and_remembered(tmp_path):
    kept = Feedback(str(tmp_path / "new"), fsync=True)
    assert [kept.add("anna", "7", 4.0), kept.add("anna", "9"), kept.add(17, "7")] == [1, 2, 1]
    assert kept.recent("anna") == (("7", 4.0), ("9", None)) and kept.recent("17") == (("7", None),)
    found = lines(tmp_path / "new")
    assert [(one["user_id"], one["item_id"], one["rating"]) for one in found] == [
        ("anna", "7", 4.0), ("anna", "9", None), ("17", "7", None),
    ]  # fmt: skip
    assert all(one["timestamp"] > 1.7e9 for one in found)


def test_without_a_folder_it_is_kept_in_memory_only():
    kept = Feedback()
    kept.add("anna", "7")
    assert kept.recent("anna") == (("7", None),) and kept.recent("nobody") == ()


def test_files_are_rotated_and_read_again_at_the_start(tmp_path):
    kept = Feedback(str(tmp_path), most_bytes=300)
    for number in range(10):
        kept.add("anna", str(number), 3.0)
    assert len(list(tmp_path.iterdir())) > 2
    assert all(path.stat().st_size <= 300 for path in tmp_path.iterdir())
    again = Feedback(str(tmp_path), most_bytes=300)
    assert again.recent("anna") == kept.recent("anna") and len(again.recent("anna")) == 10
    again.add("anna", "10")
    assert [one["item_id"] for one in lines(tmp_path)] == [str(number) for number in range(11)]


def test_a_torn_line_is_cut_off_at_the_start(tmp_path):
    Feedback(str(tmp_path)).add("anna", "7")
    with open(tmp_path / "feedback-000001.jsonl", "a") as file:
        file.write('{"user_id": "anna", "item')
    kept = Feedback(str(tmp_path))
    kept.add("anna", "8")
    assert [one["item_id"] for one in lines(tmp_path)] == ["7", "8"]


def test_memory_is_bounded_by_users_and_by_things_of_a_user(monkeypatch):
    monkeypatch.setattr(module, "KEPT_OF_A_USER", 3)
    kept = Feedback(users=2)
    for item in range(5):
        kept.add("a", str(item))
    kept.add("b", "1"), kept.add("a", "9"), kept.add("c", "1")
    assert [item for item, _ in kept.recent("a")] == ["3", "4", "9"]
    assert kept.recent("b") == () and kept.recent("c")


def test_a_full_disk_is_said_and_leaves_no_half_line(tmp_path, monkeypatch):
    kept = Feedback(str(tmp_path))
    kept.add("anna", "7")
    write, tries = os.write, []

    def full(descriptor, data):
        tries.append(data)
        if len(tries) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:10])

    monkeypatch.setattr(module.os, "write", full)
    with pytest.raises(StorageFull, match="No space left") as refused:
        kept.add("anna", "8")
    assert refused.value.status == 507 and len(kept.recent("anna")) == 1
    monkeypatch.undo()
    kept.add("anna", "9")
    assert [one["item_id"] for one in lines(tmp_path)] == ["7", "9"]


@pytest.mark.parametrize("user", ["", "  ", "a\x00b", "\u202e"])
def test_what_is_no_id_is_refused(user):
    with pytest.raises(UserError, match="an id"):
        Feedback().add(user, "7")


@pytest.mark.parametrize("user", ['"; drop', "</s>", "<b>x</b>", "a\u2028b", "=1+1", "👩‍🚀", "a,b"])
def test_any_id_is_data_only(user, tmp_path):
    kept = Feedback(str(tmp_path))
    kept.add(user, "7", 2.0)
    table = pd.read_json(tmp_path / "feedback-000001.jsonl", lines=True, dtype=False)
    assert len(table) == 1 and table["user_id"][0] == module.clean_id(user)
    assert kept.recent(user)


def test_prepare_reads_the_files_as_they_are(tmp_path, capsys):
    kept = Feedback(str(tmp_path / "kept"), most_bytes=2000)
    for number in range(60):
        kept.add(f"user {number % 10}", str(number // 10), 1 + number % 5)
    assert (
        main(
            [
                "prepare",
                "table",
                str(tmp_path / "kept/*.jsonl"),
                "--out",
                str(tmp_path / "data"),
                "--name",
                "kept",
            ]
        )
        == 0
    )
    assert "10 users, 6 items, 60 interactions" in capsys.readouterr().out
    table = pd.read_parquet(tmp_path / "data/interactions.parquet")
    assert table[table["user_id"] == "user 3"]["item_id"].tolist() == [str(item) for item in range(6)]
