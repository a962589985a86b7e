"""The tables: cleaning, checks, writing, reading, numbering."""

from __future__ import annotations

import json
import unicodedata

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p5t5.core.errors import UserError
from p5t5.data.records import parquet as writing
from p5t5.data.records.building import make_records
from p5t5.data.records.cleaning import clean_text
from p5t5.data.records.loading import load, load_records
from p5t5.data.records.tables import Records, counts, item_order

RESERVED = [
    "</s>",
    "<pad>",
    "<unk>",
    "<extra_id_3>",
    "<item_17>",
    "▁<item_17>",
    "<user_a3>",
    "<0x0A>",
    "＜pad＞",
]
HOSTILE = st.lists(
    st.one_of(
        st.sampled_from(
            [*RESERVED, "<", ">", "▁", " ", "\n", "\u200b", "\u202e", "\x00", "\x85", "\u0301", "\ud800"]
        ),
        st.text(max_size=5),
    ),
    max_size=12,
).map("".join)


@settings(max_examples=400, deadline=None)
@given(HOSTILE)
def test_clean_text_is_idempotent_and_spells_no_reserved_token(text):
    clean = clean_text(text)
    assert clean_text(clean) == clean
    assert unicodedata.normalize("NFKC", clean) == clean
    assert clean == " ".join(clean.split())
    assert not any(char in clean for char in "\u2581\n\t")
    assert all(unicodedata.category(char) not in ("Cc", "Cf", "Cs") for char in clean)
    for place, char in enumerate(clean):
        assert char != "<" or clean[place + 1 : place + 2] in ("", " ")
    clean.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain words, with 5 signs!", "plain words, with 5 signs!"),
        ("a </s> b", "a < /s> b"),
        ("<extra_id_0>", "< extra_id_0>"),
        ("＜ｐａｄ＞", "< pad>"),
        ("<\u200bpad>", "< pad>"),
        ("▁<item_3>", "_< item_3>"),
        ("two\nlines\r\n  and\ttabs", "two lines and tabs"),
        ("e\u200b\u0301", "é"),
        ("right\u202eto left", "rightto left"),
        ("Amélie — 5 < 6", "Amélie — 5 < 6"),
        ("", ""),
    ],
)
def test_clean_text_by_hand(text, clean):
    assert clean_text(text) == clean


def small() -> Records:
    interactions = pd.DataFrame(
        {
            "user_id": ["b", "a", "b", "a", "a", "b"],
            "item_id": ["007", "1e5", "NA", "007", "NA", "007"],
            "rating": [4, 3.5, 1, 5, 2, 4],
            "timestamp": [30, 20, 10, 10, 20, 30],
            "review": ["fine", None, "</s> bad", "", "ok", "fine"],
        }
    )
    items = pd.DataFrame(
        {
            "item_id": ["NA", "007", "unused"],
            "title": ["Not\nAvailable", "Bond", "x"],
            "year": [1999, 1962, 1],
        }
    )
    users = pd.DataFrame({"user_id": ["a", "z"], "age": [30, 40]})
    return make_records("small", interactions, items, users)


def test_make_records_sorts_cleans_and_counts():
    records = small()
    table = records.interactions
    assert table["user_id"].tolist() == ["a", "a", "a", "b", "b"]
    assert table["item_id"].tolist() == ["007", "1e5", "NA", "NA", "007"]  # file order within a tie
    assert table["review"].tolist() == ["", "", "ok", "< /s> bad", "fine"]
    assert records.info["dropped"] == {"same user, item and time as an earlier row": 1}
    assert records.items["item_id"].tolist() == ["007", "1e5", "NA"]  # 1e5 was not listed, `unused` not used
    assert records.items["title"].tolist() == ["Bond", "", "Not Available"]
    assert records.items["year"].tolist() == ["1962", "", "1999"]
    assert records.users["user_id"].tolist() == ["a"]


def test_rows_without_what_they_need_are_dropped_and_counted():
    table = pd.DataFrame(
        {
            "user_id": ["a", None, "a", "a", "a", ""],
            "item_id": ["x", "x", "y", "z", "w", "x"],
            "rating": ["3", "3", "many", np.inf, None, "1"],
            "timestamp": [1, 2, 3, 4, 5, 6],
        }
    )
    records = make_records("t", table)
    assert records.info["dropped"] == {"user or item missing": 2, "rating missing": 3}
    assert len(records.interactions) == 1


def test_repeats_without_times_are_kept():
    records = make_records("t", pd.DataFrame({"user_id": ["a", "a"], "item_id": ["x", "x"]}))
    assert len(records.interactions) == 2


def test_index_numbers_users_by_id_and_items_by_hash():
    data = small().index()
    assert data.user_ids.tolist() == ["a", "b"]
    assert data.item_ids.tolist() == ["NA", "007", "1e5"]
    assert data.user.tolist() == [0, 0, 0, 1, 1]
    assert data.item.tolist() == [1, 2, 0, 0, 1]
    assert data.user_start.tolist() == [0, 3, 5]
    assert data.timestamp.tolist() == [10, 20, 20, 10, 30]
    assert data.rating_values.tolist() == [1, 2, 3.5, 4, 5]
    assert data.titles == ["Not Available", "Bond", "1e5"]
    assert data.attributes == ["year"]
    assert data.users["age"].tolist() == ["30", ""]
    assert (data.has("review"), data.has("title"), data.has("rating"), data.has("summary")) == (
        True,
        True,
        True,
        False,
    )
    assert counts(data) == {"users": 2, "items": 3, "interactions": 5}


def test_item_numbers_say_nothing_about_the_ids():
    ids = [str(number) for number in range(2000)]
    order = item_order(ids)
    assert sorted(order.tolist()) == list(range(2000))
    assert abs(np.corrcoef(order, np.arange(2000))[0, 1]) < 0.06
    assert item_order(ids[:3]).tolist() == [number for number in order if number < 3]  # of the id alone


def test_the_numbering_does_not_depend_on_the_order_of_the_source():
    records = small()
    shuffled = records.interactions.iloc[[3, 4, 0, 1, 2]]
    again = make_records("small", shuffled, records.items.iloc[::-1], records.users)
    assert again.index().hash == records.index().hash


def test_the_hash_sees_every_table():
    base = small()
    hashes = {base.index().hash}
    for change in ("rating", "review", "title", "age"):
        records = small()
        frame = records.interactions if change in records.interactions else records.items
        frame = records.users if change == "age" else frame
        frame.loc[0, change] = 1 if change == "rating" else "other"
        hashes.add(records.index().hash)
    assert len(hashes) == 5


def test_write_and_load_round_trip(tmp_path):
    records = make_records(
        "round",
        small().interactions,
        small().items,
        small().users,
        pd.DataFrame({"head": ["007", "gone"], "relation": ["by", "by"], "tail": ["Ian", "x"]}),
    )
    written = records.write(tmp_path / "data")
    data = load(tmp_path / "data")
    assert data.hash == written.hash and data.name == "round"
    assert data.texts == written.texts
    pd.testing.assert_frame_equal(data.items, written.items)
    pd.testing.assert_frame_equal(data.triples.astype(object), written.triples.astype(object))
    assert len(data.triples) == 1
    card = (tmp_path / "data" / "README.md").read_text()
    assert "# round\n" in card and "| triples | 1 | head, relation, tail |" in card
    assert "2 users, 3 items, 5 interactions, 1 triples." in card
    facts = json.loads((tmp_path / "data" / "prepare.json").read_text())
    assert facts["hash"] == data.hash and facts["interactions"] == 5
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        "README.md", "interactions.parquet", "items.parquet", "prepare.json", "triples.parquet", "users.parquet",
    ]  # fmt: skip
    small_again = Records("round", records.interactions, records.items)
    small_again.write(tmp_path / "data")  # over an older data folder: tables that are no more go away
    assert not (tmp_path / "data" / "users.parquet").exists()


def test_datasets_loads_the_folder(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    small().write(tmp_path / "data")
    cache = str(tmp_path / "cache")
    table = datasets.load_dataset(str(tmp_path / "data"), "interactions", split="train", cache_dir=cache)
    assert table["item_id"][:] == ["007", "1e5", "NA", "NA", "007"]
    items = datasets.load_dataset(str(tmp_path / "data"), "items", split="train", cache_dir=cache)
    assert items["title"][:] == ["Bond", "", "Not Available"]


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_args, **_more):
        raise OSError("disk full")

    monkeypatch.setattr(writing.pq, "ParquetWriter", fail)
    with pytest.raises(OSError, match="disk full"):
        small().write(tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def test_write_spares_other_peoples_folders(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="holds other files"):
        small().write(tmp_path)
    with pytest.raises(UserError, match="is a file"):
        small().write(tmp_path / "thesis.txt")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("rating", np.nan, "row 0, column rating: nan is no rating"),
        ("rating", np.inf, "row 0, column rating: inf"),
        ("item_id", "gone", "row 0: item 'gone' is not in the items table"),
        ("user_id", "", "row 0, column user_id: '' is no id"),
        ("user_id", "a\nb", "control characters"),
        ("review", "</s>", r"row 0, column review: not clean text"),
    ],
)
def test_check_names_row_and_column(column, value, message):
    records = small()
    records.interactions = records.interactions.astype(object)
    records.interactions.loc[0, column] = value
    records.interactions["rating"] = records.interactions["rating"].astype(float)
    records.interactions["timestamp"] = records.interactions["timestamp"].astype(int)
    with pytest.raises(UserError, match=message):
        records.check()


def test_check_finds_other_faults():
    records = small()
    with pytest.raises(UserError, match="no column item_id; there are user_id"):
        Records("x", records.interactions[["user_id"]], records.items).check()
    with pytest.raises(UserError, match="'007' is there twice"):
        Records("x", records.interactions, pd.concat([records.items, records.items])).check()
    with pytest.raises(UserError, match="no rows"):
        make_records("x", records.interactions.iloc[:0])
    with pytest.raises(UserError, match="column name"):
        Records("x", records.interactions, records.items.rename(columns={"year": "<item_3>"})).check()
    with pytest.raises(UserError, match="timestamp: must be whole seconds"):
        Records("x", records.interactions.assign(timestamp=0.5), records.items).check()
    with pytest.raises(UserError, match="rating: must be numbers"):
        Records("x", records.interactions.assign(rating="4"), records.items).check()
    many = pd.DataFrame({"user_id": "a", "item_id": "x", "rating": np.arange(200) / 100})
    with pytest.raises(UserError, match="200 different values"):
        make_records("x", many)


def test_load_errors_say_what_to_do(tmp_path):
    with pytest.raises(UserError, match=r"is no data folder.*p5t5 prepare"):
        load(tmp_path / "nowhere")
    small().write(tmp_path / "data")
    (tmp_path / "data" / "items.parquet").write_bytes(b"PAR1 broken")
    with pytest.raises(UserError, match=r"items\.parquet cannot be read as Parquet"):
        load(tmp_path / "data")
    (tmp_path / "data" / "items.parquet").unlink()
    with pytest.raises(UserError, match=r"items\.parquet is not there"):
        load_records(tmp_path / "data")
    (tmp_path / "data" / "prepare.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        load(tmp_path / "data")
