"""Somebody's own table: what is guessed, what is read, what is said; generated bad files."""

from __future__ import annotations

import gzip
import importlib.util
import itertools
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.paths import ROOT

from p5t5.core.errors import UserError
from p5t5.data.sampling import draw_keys, drawn
from p5t5.data.sources import collecting, table
from p5t5.data.sources.column_inference import guess_columns
from p5t5.data.sources.column_styles import FileStyle

spec = importlib.util.spec_from_file_location("bad_inputs", ROOT / "benchmarks" / "bad_inputs.py")
bad_inputs = importlib.util.module_from_spec(spec)
sys.modules["bad_inputs"] = bad_inputs  # its dataclass looks itself up
spec.loader.exec_module(bad_inputs)


@settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(bad_inputs.inputs())
def test_bad_files_give_no_traceback_and_lose_no_good_row(made):
    bad_inputs.check(made)


# ------------------------------------------------------------------- guessing


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ({"reviewerID": "a", "asin": "b", "overall": "5", "unixReviewTime": "1400000000"}, "reviewerID asin overall unixReviewTime"),
        ({"user_id:token": "1", "item_id:token": "2", "rating:float": "3"}, "user_id:token item_id:token rating:float -"),
        ({"User ID": "1", "Movie": "Alien", "Stars": "4.5", "Watched at": "2020-01-02"}, "User ID Movie Stars Watched at"),
        ({"date": "20200102", "customer": "c", "sku": "007"}, "customer sku - date"),
        ({"who": "a", "what": "b", "at": "2020-01-02T03:04:05Z"}, "who what - at"),  # by what is in them
        ({"customer": "c", "ean": "4006381333931"}, "customer ean - -"),  # no time
        ({"user": "a", "thing": "b"}, "user thing - -"),  # the one that is left
        ({"user": "1", "item": "2", "quantity": "3"}, "user item - -"),  # no rating
        ({"user": "1", "item": "2", "rating": "good"}, "user item rating -"),  # called so: it is read, or the import stops
    ],
)  # fmt: skip
def test_columns_are_guessed(sample, expected):
    rows = {name: [cell] * 4 for name, cell in sample.items()}
    guesses, _ = guess_columns(rows, {}, "t.csv")
    ours = ["user_id", "item_id", "rating", "timestamp"]
    assert " ".join(guesses[name].theirs if name in guesses else "-" for name in ours) == expected


def test_guesses_by_values_reviews_and_what_is_left_out():
    sample = {
        "user": ["a", "b"] * 20, "item": ["x", "y"] * 20, "points": ["1", "2", "3", "4"] * 10,
        "text": ["fine"] * 40, "title": ["Nice"] * 40,
    }  # fmt: skip
    guesses, _ = guess_columns(sample, {}, "t.csv")
    assert guesses["rating"].theirs == "points" and guesses["rating"].why == "by its values"
    assert guesses["summary"].theirs == "title"  # beside a review, a title is its headline
    guesses, _ = guess_columns(
        sample, {"rating": "none", "review": "none", "user_id": "item", "item_id": "user"}, "t"
    )
    assert {ours: guess.theirs for ours, guess in guesses.items()} == {"user_id": "item", "item_id": "user"}
    _, notes = guess_columns(sample | {"text": ["1"] * 40, "points": ["x"] * 40}, {}, "t.csv")
    assert notes == ["column text is not our review: few of its cells are texts; if it is, --review text"]
    small = {"who": ["1", "2"] * 20, "what": [str(n) for n in range(40)]}
    assert set(guess_columns(small, {}, "t.csv")[0]) == {"user_id", "item_id"}  # 1 and 2 are no ratings here
    with pytest.raises(UserError, match=r"which column holds the items\? .*Say it with --item NAME"):
        guess_columns({"user": ["a"], "one": ["b"], "two": ["c"]}, {}, "t.csv")


# -------------------------------------------------------------------- reading


def test_several_files_of_several_kinds_are_one_table(tmp_path):
    header = "user,item,rating,time\n"
    (tmp_path / "a-1.csv").write_text(header + "u,1,5,100000003\n")
    (tmp_path / "a-2.csv.gz").write_bytes(gzip.compress((header + "u,2,5,100000002\n").encode()))
    (tmp_path / "a-3.tsv").write_text(header.replace(",", "\t") + "u\t3\t5\t100000001\n")
    (tmp_path / "a-4.jsonl").write_text('{"user": "u", "item": 4, "rating": 5, "time": 100000000}\n')
    frame = pd.DataFrame({"user": ["u"], "item": [5], "rating": [5], "time": pd.to_datetime(["1973-03-03"])})
    frame.to_parquet(tmp_path / "a-5.parquet")
    records = table.read([tmp_path / "a-*"])
    assert records.interactions["item_id"].tolist() == ["5", "4", "3", "2", "1"]
    assert records.info["rows_read"] == 5 and "a-1.csv, … a-5.parquet (5 files)" in records.info["source"]
    assert "times: dates in a-5.parquet, seconds in a-1.csv and 3 more" in records.info["notes"]
    (tmp_path / "a-6.csv").write_text("user,item\nu,6\n")
    with pytest.raises(UserError, match=r"a-6\.csv: no column rating \(--rating\)"):
        table.read([tmp_path / "a-*"])


def test_implicit_feedback_headers_and_triples(tmp_path):
    (tmp_path / "log.csv").write_text("7|1|x\n7|2|y\n")
    (tmp_path / "facts.csv").write_text("film,about,what\n1,genre,Horror\n9,genre,Gone\n")
    records = table.read(
        tmp_path / "log.csv", header=["user", "item", "note"], triples=tmp_path / "facts.csv"
    )
    assert records.interactions.columns.tolist() == [
        "user_id",
        "item_id",
    ]  # file order: nothing else to go by
    assert records.triples.to_numpy().tolist() == [["1", "genre", "Horror"]]
    (tmp_path / "facts.csv").write_text("value,subject,predicate,note\nHorror,1,genre,x\n")
    records = table.read(
        tmp_path / "log.csv", header=["user", "item", "note"], triples=tmp_path / "facts.csv"
    )
    assert records.triples.to_numpy().tolist() == [["1", "genre", "Horror"]]
    with pytest.raises(UserError, match=r"--header: 2 names, but line 1 .* has 3 fields"):
        table.read(tmp_path / "log.csv", header=["user", "item"])
    (tmp_path / "facts.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"head \(an item's id\), relation and tail; there are a, b"):
        table.read(tmp_path / "log.csv", header=["user", "item", "note"], triples=tmp_path / "facts.csv")


def test_item_tables_are_told_apart_by_their_names(tmp_path):
    (tmp_path / "r.csv").write_text("user,asin\nu,1\nu,2\n")
    (tmp_path / "i.csv").write_text("Product ID,Description,price\n1,Soap,2\n2,Comb,3\n")
    records = table.read(tmp_path / "r.csv", tmp_path / "i.csv")
    assert records.items.to_dict("list") == {
        "item_id": ["1", "2"],
        "title": ["Soap", "Comb"],
        "price": ["2", "3"],
    }
    assert "i.csv: item_id = Product ID, title = Description; attributes: price" in records.info["notes"]
    (tmp_path / "i.csv").write_text("colour\nred\n")
    with pytest.raises(UserError, match="which column is item_id"):
        table.read(tmp_path / "r.csv", tmp_path / "i.csv")


def test_an_item_table_may_call_its_id_as_the_interactions_do(tmp_path):
    rows = "".join(f"kunde{n % 9};A0{n % 7}\n" for n in range(40))
    (tmp_path / "r.csv").write_text("kunde;varukod\n" + rows)
    (tmp_path / "i.csv").write_text('varukod;title;id\nA01;"Große ""Öko"" Schüssel; 6er";77\n')
    records = table.read(tmp_path / "r.csv", tmp_path / "i.csv")
    assert records.info["columns"]["item_id"] == "varukod (the one that is left)"
    assert records.items.set_index("item_id").loc["A01", "title"] == 'Große "Öko" Schüssel; 6er'
    # A name that both guesses know: the likelier one of the item table counts.
    (tmp_path / "r.csv").write_text("user,product\nu,1\nu,2\n")
    (tmp_path / "i.csv").write_text("product,product_id\nSoap,1\nComb,2\n")
    items = table.read(tmp_path / "r.csv", tmp_path / "i.csv").items
    assert items.to_dict("list") == {"item_id": ["1", "2"], "product": ["Soap", "Comb"]}


def test_one_file_for_all_gives_no_row_s_rating_to_its_item(tmp_path):
    one = tmp_path / "one.csv"
    one.write_text(
        "user,age,item,product_name,maker,rating,review\n"
        "u,30,1,Soap,Arden,1,bad\nv,40,1,Soap (new),Arden,5,good\nv,40,2,Comb,,5,good\n"
    )
    records = table.read(one, one, one)
    assert records.items.to_dict("list") == {
        "item_id": ["1", "2"],
        "title": ["Soap", "Comb"],
        "maker": ["Arden", ""],
    }
    assert records.users.to_dict("list") == {"user_id": ["u", "v"], "age": ["30", "40"]}
    # A title that was taken for the headline of a review is not the item's.
    two = tmp_path / "two.csv"
    two.write_text(
        "user,item,title,review\n" + "".join(f"u{n},{n % 2},So so {n},It is fine.\n" for n in range(9))
    )
    headed = table.read(two, two)
    assert headed.info["columns"]["summary"].startswith("title") and list(headed.items) == ["item_id"]
    note = "one.csv: of its rows, so no attributes of items: user, rating, review, age"
    assert note in records.info["notes"]


def test_one_file_for_all_has_titles_under_another_name(tmp_path):
    """The column whose texts differ from item to item, however often an item comes; a maker's do not."""
    one = tmp_path / "one.csv"
    rows = [f"u{n % 7},b{n % 30},Novel number {chr(65 + n % 30)}{n % 30},Arden {n % 3}\n" for n in range(120)]
    one.write_text("reader,book_id,book,maker\n" + "".join(rows))
    items = table.read(one, one, columns={"user_id": "reader", "item_id": "book_id"}).items.set_index(
        "item_id"
    )
    assert items.loc["b3", "title"] == "Novel number D3" and items.loc["b3", "maker"] == "Arden 0"
    assert sorted(items) == ["maker", "title"]


def ratings_file(path, values):
    rows = "".join(f"u{n % 7},i{n % 5},{value}\n" for n, value in enumerate(values))
    path.write_text("user,item,rating\n" + rows)
    return path


def test_rating_scales(tmp_path):
    read = lambda values, **more: table.read(ratings_file(tmp_path / "r.csv", values), **more)  # noqa: E731
    assert set(read(["-10", "0", "-0", "10"] * 5).interactions["rating"]) == {-10, 0, 10}
    assert set(read(["0.5", "1e0", ".5", "100"] * 5).interactions["rating"]) == {0.5, 1, 100}
    fine = [f"{n / 37:.3f}" for n in range(200)]
    with pytest.raises(
        UserError, match=r"r\.csv, ratings: 200 different values from 0 to 5\.378.*--rating_step 0\.5"
    ):
        read(fine)
    rounded = read(fine, rating_step=0.5)
    assert (
        sorted(set(rounded.interactions["rating"]))
        == [n / 2 for n in range(12)][: len(set(rounded.interactions["rating"]))]
    )
    assert any("rounded to multiples of 0.5" in note for note in rounded.info["notes"])
    assert "rating" not in read(fine, columns={"rating": "none"}).interactions
    with pytest.raises(UserError, match="--rating_step must be above 0"):
        read(fine, rating_step=0.0)


def test_milliseconds_tell_the_order_within_a_second(tmp_path):
    path = tmp_path / "log.csv"
    lines = ["user,item,time", "u,late,1600000000900", "u,early,1600000000100", "u,first,1599999999999"]
    path.write_text("\n".join(lines))
    assert table.read(path).interactions["item_id"].tolist() == ["first", "early", "late"]


def test_parquet_of_other_types(tmp_path):
    columns = {
        "user": pa.array([1, 2, None]).dictionary_encode(),
        "item": pa.array([b"x", b"y", b"z"]),
        "rating": pa.array([1, 2, 3], pa.decimal128(5, 1)),
        "review": pa.array([["good", "bad"], None, []]),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    records = table.read(tmp_path / "t.parquet")
    assert records.interactions.to_numpy().tolist() == [["1", "x", 1.0, "good, bad"], ["2", "y", 2.0, ""]]
    assert records.info["problems"][0]["first"] == "t.parquet, row 3, column user: 'None'"


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(0, 3), st.permutations(range(40)))
def test_sampling_while_reading_is_sampling_afterwards(number, seed, order):
    """Thrown away as they come, or at the end: the same users, whatever the order of the rows."""
    users = [f"u{n % 11}" for n in range(40)]
    keys = draw_keys(sorted(set(users)), seed)
    chosen = {sorted(set(users))[place] for place in drawn(keys, np.arange(11), number)}
    collector = collecting.Collector(number, seed)
    waiting, collecting.WAITING = collecting.WAITING, 5
    try:
        for piece in itertools.zip_longest(*[iter(order)] * 7):
            rows = [row for row in piece if row is not None]
            columns = {
                "user": pa.array([users[row] for row in rows]),
                "item": pa.array([str(row) for row in rows]),
            }
            batch = collecting.Batch(columns, len(rows), str)
            collector.add(batch, ROOT / "x.csv", {"user_id": "user", "item_id": "item"}, FileStyle())
        found, _ = collector.finish("x.csv")
    finally:
        collecting.WAITING = waiting
    assert set(found["item_id"]) == {str(row) for row in range(40) if users[row] in chosen}
    assert collector.steps() == [f"{number} of 11 users drawn with seed {seed}"]
