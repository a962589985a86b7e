"""Ids in several spellings, side tables that do not match, and attributes that would tell of test rows."""

from __future__ import annotations

import unicodedata

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p5t5.core.errors import UserError
from p5t5.data.records.cleaning import clean_id
from p5t5.data.sources import table
from p5t5.data.sources.column_styles import parsed_values
from p5t5.data.sources.id_spelling import cause_of_misses, differing_spellings, normalizer
from p5t5.data.sources.leaking_averages import leaking_columns

IDS = [f"{n:03}" for n in range(1, 41)]
SPELLED = {
    "zeros": lambda text: text.lstrip("0"),
    "decimal": lambda text: text + ".0",
    "case": lambda text: "a" + text,
    "spaces": lambda text: text[:1] + " " + text[1:],
    "unicode": lambda text: "e\u0301" + text,
    "quotes": lambda text: f'="{text}"',
    "punctuation": lambda text: f"{text[:1]}-{text[1:]}",
}
PLAIN = {"case": lambda text: "A" + text, "unicode": lambda text: "é" + text}


def files(tmp_path, ids, listed):
    rows = [f"u{n % 9},{ids[n * 7 % len(ids)]},{n % 5 + 1},{10**9 + n}" for n in range(400)]
    (tmp_path / "r.csv").write_text("\n".join(["user,item,rating,time", *rows]) + "\n")
    lines = [f'"{text.replace(chr(34), chr(34) * 2)}",Film {n}' for n, text in enumerate(listed)]
    (tmp_path / "i.csv").write_text("\n".join(["item_id,title", *lines]) + "\n")
    return tmp_path / "r.csv", tmp_path / "i.csv"


@pytest.mark.parametrize("kind", SPELLED)
def test_a_total_miss_stops_and_names_the_option_that_helps(tmp_path, kind):
    ids = [PLAIN.get(kind, str)(text) for text in IDS]
    paths = files(tmp_path, ids, [SPELLED[kind](text) for text in IDS])
    with pytest.raises(
        UserError, match=rf"--items i\.csv: none of the 40 items .* --normalize_ids {kind} matches 40 of 40"
    ):
        table.read(*paths)
    joined = table.read(*paths, normalize_ids=[kind])
    assert len(joined.items) == 40 and (joined.items["title"] != "").all()


def test_partial_and_hopeless_misses(tmp_path):
    paths = files(tmp_path, IDS, [*IDS[:20], *(text + ".0" for text in IDS[20:])])
    (note,) = [note for note in table.read(*paths).info["notes"] if note.startswith("look at")]
    assert "20 of 40 items of the interactions are not in it" in note and "--normalize_ids decimal" in note
    with pytest.raises(UserError, match=r"none of the 40 items .*of another system"):
        table.read(*files(tmp_path, IDS, [f"m{n}x" for n in range(40)]))
    assert not [note for note in table.read(*files(tmp_path, IDS, IDS)).info["notes"] if "look at" in note]


@given(
    st.text("aé0.7 -", min_size=1, max_size=6), st.sampled_from(["case", "spaces", "unicode", "punctuation"])
)
def test_normalising_twice_is_normalising_once(text, kind):
    once = normalizer([kind])(text)
    assert once and normalizer([kind])(once) == once


def test_spellings_of_one_id_in_one_file():
    found = differing_spellings(["7", "7.0", "07", "Ann", "ann", unicodedata.normalize("NFD", "é"), "é"])
    assert {kind: number for kind, (number, _) in found.items()} == {
        "decimal": 1,
        "zeros": 1,
        "case": 1,
        "unicode": 1,
    }
    assert not differing_spellings(["7", "70", "x7"])
    assert normalizer(["decimal"])("1.08775003E8") == "108775003" and normalizer(["decimal"])("7.5") == "7.5"
    with pytest.raises(UserError, match="--normalize_ids: there is no 'zero'"):
        normalizer(["zero"])
    assert cause_of_misses(["1", "2"], ["x", "y"]) == ""


def test_ids_with_invisible_characters():
    assert clean_id("a\u200bb\ufeff") == "ab" and clean_id("👩\u200d🚀1") == "👩\u200d🚀1"
    assert clean_id("\u202e") == "" and clean_id("a\x00b") is None


@pytest.mark.parametrize(("noise", "found"), [(0.0, True), (0.1, True), (5.0, False)])
def test_averages_and_counts_are_recognised_by_their_values(noise, found):
    random = np.random.default_rng(0)
    item = (60 * random.random(6000) ** 2).astype(int)
    taste = random.normal(3, 1, 60)
    rating = np.clip(np.round(taste[item] + random.normal(0, 1, 6000)), 1, 5)
    frame = pd.DataFrame({"item_id": item.astype(str), "rating": rating})
    mean = frame.groupby("item_id")["rating"].mean()
    count = frame.groupby("item_id").size()
    items = pd.DataFrame(
        {"item_id": mean.index, "quality": mean.to_numpy() + noise * random.normal(0, 1, len(mean))}
    )
    items["fame"] = -count.rank().to_numpy() + noise * 20 * random.normal(0, 1, len(mean))
    items["year"] = random.integers(1950, 2000, len(items)).astype(str)
    items["genre"], items["stars"] = "Drama", "3.5"
    leaks = leaking_columns(items, "item_id", frame)
    assert set(leaks) == ({"quality", "fame", "stars"} if found else {"stars"})


def test_leaking_columns_are_left_out_unless_named(tmp_path):
    ratings, _ = files(tmp_path, IDS, IDS)
    lines = [f"{text},Film {text},drama,4.5,{n}" for n, text in enumerate(IDS)]
    (tmp_path / "i.csv").write_text("\n".join(["item_id,title,genre,stars,members", *lines]) + "\n")
    records = table.read(ratings, tmp_path / "i.csv")
    assert list(records.items) == ["item_id", "title", "genre"]
    assert any(
        "left out as averages" in note and "--attributes stars,members" in note
        for note in records.info["notes"]
    )
    assert list(table.read(ratings, tmp_path / "i.csv", attributes=["stars"]).items) == [
        "item_id",
        "title",
        "stars",
    ]
    assert list(table.read(ratings, tmp_path / "i.csv", attributes=[]).items) == ["item_id", "title"]
    with pytest.raises(UserError, match=r"no column genres \(--attributes\).* Did you mean genre"):
        table.read(ratings, tmp_path / "i.csv", attributes=["genres"])


def test_cells_that_stand_for_nothing(tmp_path):
    (tmp_path / "r.csv").write_text(
        "user,item,rating,time\nu,1,-1,2020-01-01\nu,2,4,1970-01-01\nu,3,5,2020-01-03\n"
    )
    values = parsed_values(None, None, "-1", "1970-01-01")
    records = table.read(tmp_path / "r.csv", values=values)
    assert records.interactions["item_id"].tolist() == ["3"]
    assert records.info["dropped"] == {"rating missing": 1, "timestamp missing": 1}


def test_units_are_decided_file_by_file_and_the_finest_column_counts(tmp_path):
    (tmp_path / "a.csv").write_text(
        "user,item,date,time_ms\nu,1,20200101,1577836800500\nu,2,20200101,1577836800100\n"
    )
    (tmp_path / "b.csv").write_text("user,item,date,time_ms\nu,3,20200102,1577923200\n")
    records = table.read([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert records.info["columns"]["timestamp"] == "time_ms (by its name)"
    assert records.interactions["timestamp"].tolist() == [1577836800, 1577836800, 1577923200]
    assert records.interactions["item_id"].tolist() == ["2", "1", "3"]
    assert "times: milliseconds in a.csv, seconds in b.csv" in records.info["notes"]


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (
            ["yesterday", "last week"],
            r"column date looks like the time .*'yesterday', 'last week'.*--time none",
        ),
        (["03/04/2017", "05/06/2017"], r"03/04/2017 may be day first or month first.*--time_format dmy"),
        (["14/03/2017", "03/14/2017"], r"day first in 14/03/2017 and month first in 03/14/2017"),
    ],
)
def test_times_that_cannot_be_read_stop_the_import(tmp_path, cells, says):
    rows = [f"u{n % 3},{n},{cells[n % 2]}" for n in range(60)]
    (tmp_path / "r.csv").write_text("\n".join(["user,item,date", *rows]) + "\n")
    with pytest.raises(UserError, match=says):
        table.read(tmp_path / "r.csv")
    assert "timestamp" not in table.read(tmp_path / "r.csv", columns={"timestamp": "none"}).interactions


def test_a_list_of_items_has_no_users(tmp_path):
    rows = [f"{n},Book {n},Author {n % 7},{n % 5 + 1}" for n in range(40)]
    (tmp_path / "b.csv").write_text("\n".join(["Book Id,Title,Author,My Rating", *rows]) + "\n")
    with pytest.raises(UserError, match=r"there is no column of users among .* no Book Id comes twice"):
        table.read(tmp_path / "b.csv")
