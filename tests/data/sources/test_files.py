"""Files are told by content: archives, JSON in its shapes, Parquet, Excel, remote ones; what is not read is named."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile

import datasets
import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p5t5.core.errors import UserError
from p5t5.data.build import prepare
from p5t5.data.sources import table
from p5t5.data.sources.files import open_file, read_table

ROWS = [{"user_id": f"u{n % 4}", "item_id": f"i{n * n % 7}", "rating": 1 + n % 5, "timestamp": 1_500_000_000 + n * 9999}
        for n in range(24)]  # fmt: skip
FRAME = pd.DataFrame(ROWS)
CSV = FRAME.to_csv(index=False)
NAMES = ("user_id", "item_id", "rating", "timestamp")


def read_back(path) -> list[dict]:
    file = open_file(path)
    assert file.names == NAMES, (file.names, file.notes)
    got = []
    for batch in file.batches(file.names):
        assert not batch.bad
        got += zip(*(batch.columns[name].to_pylist() for name in NAMES), strict=True)
    return [{"user_id": u, "item_id": i, "rating": int(r), "timestamp": int(t)} for u, i, r, t in got]


SHAPES = {
    "lines": lambda: "".join(json.dumps(row) + "\n" for row in ROWS),
    "array": lambda: json.dumps(ROWS),
    "pretty array": lambda: json.dumps(ROWS, indent=2),
    "pretty objects": lambda: "\n".join(json.dumps(row, indent=2) for row in ROWS),
    "wrapped": lambda: json.dumps({"count": 24, "data": ROWS}),
    "wrapped deeper": lambda: json.dumps({"response": {"results": ROWS}, "ok": True}, indent=1),
    "columns": lambda: FRAME.to_json(),
    "split": lambda: FRAME.to_json(orient="split"),
    "index": lambda: FRAME.to_json(orient="index"),
    "table": lambda: FRAME.to_json(orient="table", index=False),
    "values of columns": lambda: json.dumps(FRAME.to_dict(orient="list")),
    "python": lambda: "".join(f"{row!r}\n" for row in ROWS),
    "python 2": lambda: "".join(repr(row).replace("{'", "{u'").replace(", '", ", u'") + "\n" for row in ROWS),
}


@pytest.mark.parametrize("name", ["r.json", "r.jsonl", "r.txt", "r.csv.gz"])
@pytest.mark.parametrize("shape", SHAPES)
def test_json_in_its_shapes(tmp_path, shape, name):
    path = tmp_path / name
    path.write_text(SHAPES[shape]())
    if name == "r.csv.gz" and shape != "lines":
        return  # called CSV, and no line is an object: not JSON
    assert read_back(path) == ROWS if name != "r.csv.gz" else open_file(path)


def test_users_and_their_items(tmp_path):
    path = tmp_path / "likes.json"
    path.write_text(json.dumps({"anna": {"b1": 4, "b2": 5}, "bob": {"b2": 1, "b9": 3}}))
    assert open_file(path).names == ("user_id", "item_id", "rating")
    path.write_text(json.dumps({"anna": ["b1", "b2"], "bob": ["b2"]}))
    (batch,) = open_file(path).batches(["user_id", "item_id"])
    assert batch.columns["user_id"].to_pylist() == ["anna", "anna", "bob"]
    path.write_text(json.dumps({"users": [{"id": 1}], "ratings": [{"id": 2}]}))
    with pytest.raises(UserError, match=r"several tables \(users, ratings\)"):
        open_file(path)


NESTED = [
    {"user": {"id": f"u{n % 3}"}, "product": {"meta": {"sku": f"i{n}"}}, "when": {"$date": f"2020-01-{n + 1:02}T00:00:00Z"}}
    for n in range(9)
]  # fmt: skip


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_objects_are_flattened_and_said(tmp_path, kind):
    path = tmp_path / f"r.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in NESTED))
    else:
        pq.write_table(pa.Table.from_pylist([{**row, "when": "x"} for row in NESTED]), path)
    file = open_file(path)
    assert (
        file.names == ("user.id", "product.meta.sku", "when") and "flattened: user, product" in file.notes[0]
    )
    (batch,) = file.batches(["product.meta.sku", "when"], one_line=["product.meta.sku"])
    assert batch.columns["product.meta.sku"].to_pylist() == [f"i{n}" for n in range(9)]
    assert kind == "parquet" or batch.columns["when"].to_pylist()[0] == "2020-01-01T00:00:00Z"


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("element", [lambda n: f"i{n}", lambda n: {"id": f"i{n}", "quantity": n}])
def test_a_basket_is_a_row_an_item(tmp_path, kind, element):
    rows = [
        {"order": n, "customer": f"c{n % 2}", "items": [element(k) for k in range(n % 3 + 1)]}
        for n in range(6)
    ]
    path = tmp_path / f"r.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    file = open_file(path)
    name = next(name for name in file.names if name.startswith("item"))
    assert "a row an item" in file.notes[-1]
    (batch,) = file.batches(["customer", name], one_line=[name])
    expected = [(row["customer"], f"i{k}") for row in rows for k in range(len(row["items"]))]
    got = list(zip(batch.columns["customer"].to_pylist(), batch.columns[name].to_pylist(), strict=True))
    assert got == expected and batch.place(1).split()[1] == "2"


def test_archives(tmp_path):
    one = tmp_path / "one.zip"
    with zipfile.ZipFile(one, "w") as archive:
        archive.writestr("data/ratings.csv", CSV)
        archive.writestr("README.txt", "hello")
    assert read_back(one) == ROWS
    two = tmp_path / "two.zip"
    with zipfile.ZipFile(two, "w") as archive:
        archive.writestr("ratings.csv", CSV)
        archive.writestr("films.csv", "item_id,title\ni1,Emma\n")
    with pytest.raises(
        UserError, match=r"two\.zip holds 2 files; in it are ratings\.csv, films\.csv\. Name one, as in"
    ):
        open_file(two)
    assert read_back(two / "ratings.csv") == ROWS
    tar = tmp_path / "t.tar.gz"
    with tarfile.open(tar, "w:gz") as archive:
        member = tarfile.TarInfo("x/ratings.csv")
        member.size = len(CSV)
        archive.addfile(member, io.BytesIO(CSV.encode()))
    assert read_back(tar) == ROWS
    with pytest.raises(UserError, match="holds no gone"):
        open_file(two / "gone.csv")


def test_excel(tmp_path):
    pytest.importorskip("openpyxl")
    path = tmp_path / "r.xlsx"
    with pd.ExcelWriter(path) as book:
        FRAME.assign(when=pd.to_datetime("2020-01-31 10:00")).to_excel(
            book, sheet_name="A", startrow=2, index=False
        )
        pd.DataFrame().to_excel(book, sheet_name="B")
    file = open_file(path)
    assert file.names == (*NAMES, "when") and len(read_table(path)) == 24
    assert read_table(path)["when"][0] == "2020-01-31 10:00:00" and read_table(path)["rating"][0] == "1"
    with pd.ExcelWriter(path := tmp_path / "two.xlsx") as book:
        FRAME.to_excel(book, sheet_name="A", index=False)
        FRAME.to_excel(book, sheet_name="B", index=False)
    with pytest.raises(UserError, match="2 filled sheets; there are A, B"):
        open_file(path)
    assert read_back(path / "B") == ROWS


def test_arrow_and_parquet_under_any_name(tmp_path):
    arrow = pa.Table.from_pandas(FRAME)
    pq.write_table(arrow, tmp_path / "r.dat")
    assert read_back(tmp_path / "r.dat") == ROWS
    with pa.OSFile(str(tmp_path / "r.arrow"), "wb") as sink, pa.ipc.new_stream(sink, arrow.schema) as out:
        out.write_table(arrow)
    assert read_back(tmp_path / "r.arrow") == ROWS


def test_remote_files():
    memory = fsspec.filesystem("memory")
    with memory.open("/shop/ratings-1.csv", "w") as file:
        file.write(CSV)
    assert read_back("memory://shop/ratings-1.csv") == ROWS
    assert len(table.read("memory://shop/ratings-*.csv").interactions) == 24
    with pytest.raises(UserError, match=r"memory://shop/gone\.csv cannot be fetched"):
        open_file("memory://shop/gone.csv")
    with pytest.raises(UserError, match="no file matches"):
        table.read("memory://shop/none-*.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"SQLite format 3\x00....", "SQLite"),
        (b"\x80\x04\x95abc", "pickle, which may run anything"),
        (b"%PDF-1.7", "PDF"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", r"old Excel file \(\.xls\)"),
    ],
)
def test_what_is_not_read_is_named(tmp_path, content, message):
    (tmp_path / "r.bin").write_bytes(content)
    with pytest.raises(UserError, match=message):
        open_file(tmp_path / "r.bin")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_matrix_is_melted(tmp_path_factory, data):
    users, items = data.draw(st.integers(3, 9)), data.draw(st.integers(6, 12))
    zeros = data.draw(st.booleans())
    cells = np.array(data.draw(st.lists(st.lists(st.sampled_from([0, 0, 0, 1, 2, 3, 4, 5]), min_size=items,
                     max_size=items), min_size=users, max_size=users)))  # fmt: skip
    cells[0, :4], cells[1, :3] = [1, 0, 0, 5], [0, 0, 0]
    if (cells == 0).mean() < 0.35:
        return
    frame = pd.DataFrame(
        cells, columns=[f"film {n}" for n in range(items)], index=[f"u{n}" for n in range(users)]
    )
    path = tmp_path_factory.mktemp("w") / "m.csv"
    (frame if zeros else frame.astype(object).where(cells > 0, "")).to_csv(path, index_label="user")
    file = open_file(path)
    assert file.names == ("user_id", "item_id", "rating") and "matrix" in file.notes[-1]
    (batch,) = file.batches(file.names)
    got = list(zip(*(batch.columns[name].to_pylist() for name in file.names), strict=True))
    assert got == [(f"u{r}", f"film {c}", str(cells[r, c])) for r, c in zip(*np.nonzero(cells), strict=True)]


@pytest.mark.parametrize("make", [datasets.Dataset.from_pandas, pa.Table.from_pandas, lambda frame: frame])
def test_tables_of_python(tmp_path, make):
    items = pd.DataFrame({"item_id": [f"i{n}" for n in range(7)], "title": [f"Film {n}" for n in range(7)]})
    prepared = prepare(make(FRAME), items=make(items), out=tmp_path / "out", name="shop")
    assert prepared.counts["interactions"] == 24 and prepared.data.name == "shop"
    assert prepared.data.items["title"].str.startswith("Film").all()


def test_what_is_no_table_of_python_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"several tables \(train, test\)"):
        prepare(datasets.DatasetDict({part: datasets.Dataset.from_pandas(FRAME) for part in ("train", "test")}),
                out=tmp_path / "out")  # fmt: skip
    with pytest.raises(UserError, match="a list is no table"):
        prepare([1, 2], out=tmp_path / "out")
