"""Raw files → records: tiny hand-made copies of each layout, the errors, and the real data where they are."""

from __future__ import annotations

import gzip
import json
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from p5t5.core.errors import UserError
from p5t5.data.records.cleaning import unescape_html
from p5t5.data.sources import amazon, movielens, sequences, table
from p5t5.data.sources.files import read_table

# ------------------------------------------------------------------ MovieLens

FLAGS = {"Animation": 3, "Children's": 4, "Comedy": 5, "Drama": 8, "unknown": 0}


def film(number: str, title: str, *genres: str) -> str:
    flags = ["0"] * 19
    for genre in genres:
        flags[FLAGS[genre]] = "1"
    return "|".join([number, title, "01-Jan-1995", "", "http://x", *flags])


def grouplens(folder: Path) -> Path:
    folder.mkdir()
    (folder / "u.data").write_text("2\t10\t4\t900\n1\t9\t3\t800\n1\t10\t5\t700\n2\t11\t1\t950\n")
    films = [
        film("9", "Toy Story (1995)", "Animation", "Children's", "Comedy"),
        film("10", "Misérables, Les (1995)", "Drama"),
        film("11", "Land Before Time III (1995) (V)", "Animation"),
        film("12", "unknown", "unknown"),
    ]
    (folder / "u.item").write_bytes("\n".join(films).encode("latin-1"))
    (folder / "u.user").write_text("1|24|M|technician|85711\n2|53|F|other|94043\n")
    return folder


def recbole(path: Path) -> Path:
    inside = "recbole/dataset_example/ml-100k/ml-100k."
    head = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    items = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    items += "9\tToy Story\t1995\tAnimation Children's Comedy\n10\tMisérables, Les\t1995\tDrama\n"
    items += "11\tLand Before Time III (1995)\tV\tAnimation\n12\tunknown\t\tunknown\n"
    users = "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            inside + "inter", head + "2\t10\t4\t900\n1\t9\t3\t800\n1\t10\t5\t700\n2\t11\t1\t950\n"
        )
        archive.writestr(inside + "item", items)
        archive.writestr(inside + "user", users + "1\t24\tM\ttechnician\t85711\n2\t53\tF\tother\t94043\n")
    return path


def test_movielens_reads_the_same_from_both_layouts(tmp_path):
    ours = movielens.read(grouplens(tmp_path / "ml-100k"))
    theirs = movielens.read(recbole(tmp_path / "recbole.whl"))
    assert ours.index().hash == theirs.index().hash
    assert ours.interactions["item_id"].tolist() == ["10", "9", "10", "11"]  # by user, then time
    items = ours.items.set_index("item_id")
    assert items.loc["9"].tolist() == ["Toy Story (1995)", "1995", "Animation, Children's, Comedy"]
    assert items.loc["10", "title"] == "Misérables, Les (1995)"
    assert items.loc["11"].tolist() == ["Land Before Time III (1995) (V)", "1995", "Animation"]
    assert "12" not in items.index  # nobody rated it
    assert ours.users.loc[0].tolist() == ["1", "24", "M", "technician"]


def test_movielens_reads_a_zip_of_the_folder(tmp_path):
    folder = grouplens(tmp_path / "ml-100k")
    with zipfile.ZipFile(tmp_path / "ml.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, f"ml-100k/{path.name}")
    assert movielens.read(tmp_path / "ml.zip").index().hash == movielens.read(folder).index().hash


def test_movielens_errors(tmp_path):
    with pytest.raises(UserError, match="neither a folder nor a zip"):
        movielens.read(tmp_path / "nowhere")
    folder = grouplens(tmp_path / "ml-100k")
    (folder / "u.data").write_text("1\t9\t3\t800\n1\t9\n")
    with pytest.raises(UserError, match=r"u\.data, line 2: 2 fields where 4 are needed"):
        movielens.read(folder)
    (folder / "u.data").write_text("1\t9\t3\t800\n")
    (folder / "u.item").unlink()
    with pytest.raises(UserError, match=r"u\.item is not beside the ratings"):
        movielens.read(folder)
    (folder / "u.data").unlink()
    with pytest.raises(UserError, match=r"neither u\.data nor ml-100k\.inter"):
        movielens.read(folder)


def fake_pip(content: bytes | None, calls: list):
    def pip(command, **_more):
        calls.append(command)
        if content is None:
            return subprocess.CompletedProcess(command, 1, "", "ERROR: one\nERROR: no network")
        Path(command[command.index("--dest") + 1], movielens.WHEEL).write_bytes(content)
        return subprocess.CompletedProcess(command, 0, "", "")

    return pip


def test_the_wheel_is_fetched_once_checked_and_never_installed(tmp_path, monkeypatch):
    content = recbole(tmp_path / "made.whl").read_bytes()
    calls: list = []
    monkeypatch.setenv("P5T5_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(movielens, "WHEEL_SHA256", __import__("hashlib").sha256(content).hexdigest())
    monkeypatch.setattr(movielens.subprocess, "run", fake_pip(content, calls))
    assert len(movielens.read().interactions) == 4
    assert len(movielens.read().interactions) == 4
    assert len(calls) == 1 and {"download", "--no-deps", "recbole==1.2.1"} <= set(calls[0])
    (tmp_path / "cache" / movielens.WHEEL).write_bytes(b"damaged")
    movielens.read()
    assert len(calls) == 2


def test_a_changed_wheel_or_a_failed_download_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("P5T5_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(movielens.subprocess, "run", fake_pip(b"something else", []))
    with pytest.raises(UserError, match="another SHA-256 than pinned"):
        movielens.read()
    monkeypatch.setattr(movielens.subprocess, "run", fake_pip(None, []))
    with pytest.raises(UserError, match=r"no network.*--raw DIR_OR_ZIP"):
        movielens.read()
    assert list((tmp_path / "cache").iterdir()) == []


# ------------------------------------------------------------------ sequences


def beauty(folder: Path) -> Path:
    (folder / "kg").mkdir(parents=True)
    (folder / "sequences.txt").write_text("1 7 8 7\n2 8 007\n\n")
    (folder / "items.tsv").write_text(
        "item_id\tasin\ttitle\tbrand\tcategories\tprice\tsales_rank\n"
        "7\tA7\tSoap &amp;amp; Co\tUnknown\t'Beauty', 'Bath'\t12.0\t5\n"
        '007\tA007\t"A \t ""best""\nlotion"\tKirk&#39;s\t"\'Fragrance\', ""Women\'s"""\t\t6\n'
        "8\tA8\tComb\tOPI\t'Hair'\t3.04\t7\n"
        "9\tA9\tUnsold\tOPI\t'Hair'\t3\t8\n"
    )
    for name, lines in {
        "product": "A8\nA7\nA9\nB1",
        "brand": "OPI\nUnknown",
        "brand_p_b": "0\n1\n0\n0",
        "category": "Hair\nBath",
        "category_p_c": "0\n1 0\n\n",
        "also_bought_p_p": "1\n0\n\n",
        "related_product": "A7\nA8",
    }.items():
        with gzip.open(folder / "kg" / f"{name}.txt.gz", "wt") as file:
            file.write(lines)
    return folder


def test_sequences_items_and_knowledge_graph(tmp_path):
    records = sequences.read(beauty(tmp_path / "beauty"))
    table = records.interactions
    assert table.columns.tolist() == ["user_id", "item_id"]
    assert table["item_id"].tolist() == ["7", "8", "7", "8", "007"]  # order kept, repeats kept
    items = records.items.set_index("item_id")
    assert items.columns.tolist() == ["title", "brand", "categories", "price"]  # no sales_rank
    assert items.loc["7"].tolist() == ["Soap & Co", "", "Beauty, Bath", "12"]
    assert items.loc["007"].tolist() == ['A "best" lotion', "Kirk's", "Fragrance, Women's", ""]
    assert records.triples.to_numpy().tolist() == [
        ["8", "brand", "OPI"],
        ["8", "category", "Hair"],
        ["7", "category", "Bath"],
        ["7", "category", "Hair"],
    ]
    assert len(sequences.read(tmp_path / "beauty", all_items=True).items) == 4


def test_sequences_errors_and_a_bare_file(tmp_path):
    with pytest.raises(UserError, match=r"has no sequences\.txt"):
        sequences.read(tmp_path)
    (tmp_path / "sequences.txt").write_text("1 7 8\n1 9\n")
    with pytest.raises(UserError, match=r"sequences\.txt, line 2: user 1 has a line already \(1\)"):
        sequences.read(tmp_path)
    (tmp_path / "sequences.txt").write_text("1 7 8\n")
    records = sequences.read(tmp_path, name="bare")
    assert records.items.columns.tolist() == ["item_id"] and records.triples is None
    assert not records.index().has("title") and sorted(records.index().titles) == ["7", "8"]
    (tmp_path / "items.tsv").write_text("id\ttitle\n7\tx\n")
    with pytest.raises(UserError, match=r"items\.tsv: no column item_id; there are id, title"):
        sequences.read(tmp_path)


# --------------------------------------------------------------------- Amazon


def write_lines(path: Path, rows: list[dict]) -> Path:
    text = "\n".join(json.dumps(row) for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


REVIEWS = [
    {
        "reviewerID": "U2",
        "asin": "B1",
        "overall": 5.0,
        "reviewText": "Great </s> &quot;tone&quot;",
        "summary": "Wow",
        "unixReviewTime": 9,
    },
    {
        "reviewerID": "U1",
        "asin": "1384719342",
        "overall": 2.0,
        "reviewText": "",
        "summary": "Meh",
        "unixReviewTime": 8,
    },
]


def test_amazon_2014_layout(tmp_path):
    write_lines(tmp_path / "reviews.json.gz", REVIEWS)
    (tmp_path / "items.csv").write_text(
        'Product ID,Description,price,Category\nB1,"Cable - 1/4&quot; plugs",2,Cables\n'
    )
    records = amazon.read(tmp_path, name="gear")
    assert records.interactions.to_numpy().tolist() == [
        ["U1", "1384719342", 2.0, 8, "", "Meh"],
        ["U2", "B1", 5.0, 9, 'Great < /s> "tone"', "Wow"],
    ]
    assert records.items.to_dict("list") == {
        "item_id": ["1384719342", "B1"],
        "title": ["", 'Cable - 1/4" plugs'],
        "category": ["", "Cables"],
        "price": ["", "2"],
    }


def test_amazon_2023_layout(tmp_path):
    row = {
        "user_id": "U",
        "asin": "old",
        "parent_asin": "P",
        "rating": 4,
        "title": "Nice",
        "text": "ok",
        "timestamp": 1588687728923,
    }
    write_lines(tmp_path / "reviews.jsonl", [row])
    meta = {
        "parent_asin": "P",
        "title": "Lamp",
        "store": "Lumo",
        "categories": ["Home", ["Light"]],
        "bought_together": ["X"],
        "price": None,
    }
    write_lines(tmp_path / "meta.jsonl", [meta])
    records = amazon.read(tmp_path)
    assert records.interactions.to_numpy().tolist() == [["U", "P", 4.0, 1588687728, "ok", "Nice"]]
    assert records.items.to_dict("list") == {
        "item_id": ["P"],
        "title": ["Lamp"],
        "brand": ["Lumo"],
        "category": ["Home, Light"],
    }


def test_amazon_errors(tmp_path):
    with pytest.raises(UserError, match=r"no file named reviews…"):
        amazon.read(tmp_path)
    path = tmp_path / "reviews.jsonl"
    path.write_text('{"reviewerID": "a"}\n{oops\n')
    with pytest.raises(UserError, match=r"reviews\.jsonl, line 2: not a JSON object"):
        amazon.read(path)
    path.write_text("[1]\n")
    with pytest.raises(UserError, match="none of its first lines is a JSON object"):
        amazon.read(path)
    path.write_text('{"reviewerID": "a"}\n')
    with pytest.raises(UserError, match=r"no column parent_asin or asin; there are reviewerID"):
        amazon.read(path)
    write_lines(tmp_path / "reviews-2.jsonl", REVIEWS)
    with pytest.raises(UserError, match="2 files named reviews…"):
        amazon.read(tmp_path)


# ---------------------------------------------------------------------- table


def test_ids_survive_every_format(tmp_path):
    """``007``, ``1e5`` and ``NA`` are ids like any other (traps.md 29)."""
    ids, users = ["007", "1e5", "NA", "null", "1.50"], ["1", "01", "nan", "True", "x"]
    frame = pd.DataFrame({"user_id": users, "item_id": ids, "rating": ["1", "2", "3", "4", "5"]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_csv(tmp_path / "t.tsv", index=False, sep="\t")
    frame.to_csv(tmp_path / "semi.csv", index=False, sep=";")
    frame.to_csv(tmp_path / "t.csv.gz", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    write_lines(tmp_path / "t.jsonl", frame.to_dict("records"))
    expected = sorted(zip(users, ids, [1, 2, 3, 4, 5], strict=True))
    for name in ("t.csv", "t.tsv", "semi.csv", "t.csv.gz", "t.parquet", "t.jsonl"):
        rows = table.read(tmp_path / name).interactions
        assert sorted(rows.itertuples(index=False, name=None)) == expected, name


def test_column_mapping_items_and_users(tmp_path):
    (tmp_path / "r.csv").write_text("member,film,stars,user_id\n1,7,4.5,ignored\n1,8,3,ignored\n")
    (tmp_path / "films.csv").write_text("film,name,genre\n7,Alien,Horror\n8,Fargo,\n")
    (tmp_path / "members.csv").write_text("member,town\n1,Bonn\n")
    columns = {"user_id": "member", "item_id": "film", "rating": "stars", "title": "name"}
    records = table.read(tmp_path / "r.csv", tmp_path / "films.csv", tmp_path / "members.csv", columns)
    assert records.interactions.to_numpy().tolist() == [["1", "7", 4.5], ["1", "8", 3.0]]
    assert records.items.to_dict("list") == {
        "item_id": ["7", "8"],
        "title": ["Alien", "Fargo"],
        "genre": ["Horror", ""],
    }
    assert records.users.to_dict("list") == {"user_id": ["1"], "town": ["Bonn"]}


@pytest.mark.parametrize(
    ("cells", "times"),
    [
        (["20", "10"], [10, 20]),
        (["1600000000000", "1500000000999"], [1500000000, 1600000000]),
        (["1970-01-02", "1970-01-01T00:00:05"], [5, 86400]),
        (["1970-01-01 01:00:00+01:00", "1970-01-01 00:00:01"], [0, 1]),
    ],
)
def test_times_are_seconds_milliseconds_or_dates(tmp_path, cells, times):
    lines = "".join(f"a,{place},{cell}\n" for place, cell in enumerate(cells))
    (tmp_path / "r.csv").write_text("user_id,item_id,timestamp\n" + lines)
    assert table.read(tmp_path / "r.csv").interactions["timestamp"].tolist() == times


def test_parquet_dates_and_numbers_with_gaps(tmp_path):
    frame = pd.DataFrame(
        {
            "user_id": pd.Series([3, None, 5], dtype="float64"),  # integers that a gap made floats
            "item_id": [1, 2, 3],
            "timestamp": pd.to_datetime(["1970-01-01 00:01", "1970-01-01 00:00", "1970-01-02 00:00"]),
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    records = table.read(tmp_path / "t.parquet")
    assert records.interactions.to_numpy().tolist() == [["3", "1", 60], ["5", "3", 86400]]
    assert records.info["dropped"] == {"user or item missing": 1}


def test_cells_that_say_nothing_are_dropped_and_named(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text(
        "user_id,item_id,rating,timestamp\na,x,4,1\na,y,,2\na,z,good,3\na,w,inf,4\na,v,1,soon\na,u,5,9\n"
    )
    info = table.read(path).info
    assert info["dropped"] == {"rating is not a number": 2, "rating missing": 1, "time cannot be read": 1}
    first = {problem["reason"]: problem["first"] for problem in info["problems"]}
    assert first == {
        "rating is not a number": "r.csv, line 4, column rating: 'good'",
        "rating missing": "r.csv, line 3, column rating: ''",
        "time cannot be read": "r.csv, line 6, column timestamp: 'soon'",
    }
    assert all(problem["remedy"] for problem in info["problems"])


def test_table_errors(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        table.read(tmp_path / "gone.csv")
    with pytest.raises(UserError, match="no file matches"):
        table.read(tmp_path / "gone*.csv")
    with pytest.raises(UserError, match="is a folder; name the files in it"):
        table.read(tmp_path)
    (tmp_path / "r.db").write_bytes(b"SQLite format 3\x00")
    with pytest.raises(UserError, match=r"is an SQLite database; export the table"):
        table.read(tmp_path / "r.db")
    path = tmp_path / "r.csv"
    for content, message in (
        ("", "is empty"),
        (
            "colour,price\nred,1.5\n",
            r"which column holds the users and which the items\? There are colour, price\. .*--user NAME",
        ),
        ("196,242,3\n1,2,3\n", r"first line is a row \(196, 242, 3\), .*--header user,item,rating"),
        ("user_id,item_id\na,x,1\n", r"r\.csv: no row can be used .*line 2: 'a,x,1': wrong number of fields"),
        ("a,a\n1,2\n", "two columns have the same name"),
        ('"user_id,item_id\na,x\n', "line 1: a quote is opened and not closed"),
        (
            "user_id,item_id,rating\n" + "a,x,good\n" * 30 + "a,x,5\n",
            r"column rating looks like the ratings, but they cannot be read: 'good', '5'\. Tried",
        ),
    ):
        path.write_bytes(content.encode())
        with pytest.raises(UserError, match=message):
            table.read(path, columns={"rating": "rating"} if "good" in content else None)
    path.write_text("user_id,item_id\na,x\n")
    with pytest.raises(UserError, match="no column 'usr' here"):
        table.read(path, columns={"usr": "user"})
    with pytest.raises(
        UserError, match=r"no column item \(--item\); there are user_id, item_id\. Did you mean item_id"
    ):
        table.read(path, columns={"item_id": "item"})
    with pytest.raises(UserError, match="user_id was named twice"):
        table.read(path, columns={"user_id": "user_id", "item_id": "user_id"})
    with pytest.raises(UserError, match="is named twice"):
        table.read([path, path])
    path.write_bytes(b"user_id,item_id\n\xff\xfe,x\n")
    with pytest.raises(UserError, match=r"line 2: .* not UTF-8 text; name the file's encoding"):
        table.read(path)
    (tmp_path / "r.parquet").write_bytes(b"no")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        read_table(tmp_path / "r.parquet")
    (tmp_path / "r.csv.gz").write_bytes(gzip.compress(b"user_id,item_id\n" + b"a,x\n" * 9999)[:-20])
    with pytest.raises(UserError, match=r"cannot be read: .*damaged or was cut off"):
        read_table(tmp_path / "r.csv.gz")


def test_unescape_html_twice():
    assert unescape_html("eForCity&amp;reg; &quot;x&quot; R&B") == 'eForCity® "x" R&B'


# ------------------------------------------------------------------ real data


def test_beauty_counts(shared_data):
    data = sequences.read(shared_data / "amazon-beauty").index()
    assert (data.number_of_users, data.number_of_items, len(data)) == (22363, 12101, 198502)
    assert sum(bool(title) for title in data.items["title"]) == 12094
    assert set(data.triples["relation"]) == {"brand", "category"}
    brand = data.triples[data.triples["relation"] == "brand"].set_index("head")["tail"]
    assert (data.items.set_index("item_id")["brand"].loc[brand.index] == brand).all()


def test_musical_instruments_counts(shared_data):
    data = amazon.read(shared_data / "amazon-musical-instruments").index()
    assert (data.number_of_users, data.number_of_items, len(data)) == (1429, 900, 10261)
    assert sum(not text for text in data.texts["review"]) == 7
    assert all(data.items["title"]) and data.rating_values.tolist() == [1, 2, 3, 4, 5]
    assert np.diff(data.timestamp)[np.diff(data.user) == 0].min() >= 0
