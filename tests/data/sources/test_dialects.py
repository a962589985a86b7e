"""Tables written in any dialect are read back equal, by looking at them alone."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from p5t5.core.errors import UserError
from p5t5.data.sources import table
from p5t5.data.sources.dialects import DialectOptions, look_at
from p5t5.data.sources.encodings import detect
from p5t5.data.sources.files import open_file

NAMES = ("user", "item", "rating", "time", "review")
USERS, ITEMS = ["anna", "bob", "cleo", "dora"], [f"b{number}" for number in range(7)]
WORDS = ["fine", "Über alles", "a café, really", 'the "best" one', "so so", "meh; no", "x | y"]


def rows_of(texts) -> list[tuple[str, ...]]:
    return [
        (USERS[n % 4], ITEMS[n * n % 7], str(1 + n % 5), f"2020-01-{n + 1:02}", text)
        for n, text in enumerate(texts)
    ]


def written(rows, separator, quoting, escape, spaced, trailing, header, lead) -> str:
    """A table as text, by a writer of its own."""

    def cell(text: str) -> str:
        if quoting == "none":
            return text
        if quoting == "all" or any(mark in text for mark in (separator, '"', "\n")):
            doubled = text.replace("\\", "\\\\").replace('"', '\\"') if escape else text.replace('"', '""')
            return f'"{doubled}"'
        return text

    lines = [NAMES, *rows] if header else rows
    glue = separator + " " if spaced else separator
    return lead + "".join(
        glue.join(map(cell, line)) + (separator if trailing else "") + "\n" for line in lines
    )


@st.composite
def tables(draw):
    separator = draw(st.sampled_from([",", ";", "\t", "|", "::"]))
    quoting = "none" if separator == "::" else draw(st.sampled_from(["none", "all", "some"]))
    words = [word for word in WORDS if quoting != "none" or separator not in word]
    if quoting == "none" and separator in ",;":
        words = [word for word in words if '"' not in word]  # there a quote is no text
    rows = rows_of(draw(st.lists(st.sampled_from(words), min_size=8, max_size=20)))
    escape = quoting == "all" and separator in ",;" and draw(st.booleans())
    spaced = not escape and separator in ",;" and quoting != "none" and draw(st.booleans())
    trailing = not spaced and draw(st.booleans())
    lead = draw(st.sampled_from(["", "\n\n", "# made by hand\n", "Ratings of the shop\n\n"]))
    if len(separator) == 1 and separator != "\t" and draw(st.booleans()):
        lead = f"sep={separator}\n"
    header = draw(st.booleans())
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]))
    text = written(rows, separator, quoting, escape, spaced, trailing, header, lead)
    newline = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    packed = draw(st.sampled_from(["", "gzip", "bz2", "xz", "zstd"]))
    return rows, text.replace("\n", newline).encode(encoding), header, packed


def pack(content: bytes, how: str) -> bytes:
    if how == "zstd":
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as out:
            out.write(content)
        return sink.getvalue().to_pybytes()
    return {"": bytes, "gzip": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[how](content)


@settings(max_examples=300, deadline=None)
@given(tables(), st.sampled_from(["t.csv", "t.txt", "t.dat", "t.csv.gz", "t"]))
def test_a_table_in_any_dialect_is_read_back(tmp_path_factory, made, name):
    rows, content, header, packed = made
    path = tmp_path_factory.mktemp("d") / name
    path.write_bytes(pack(content, packed))
    file = open_file(path)
    assert file.has_header == header, (content, file.notes)
    got = []
    for batch in file.batches(file.names):
        assert not batch.bad, (content, batch.bad)
        got += zip(*(batch.columns[column].to_pylist() for column in file.names), strict=True)
    assert [tuple(map(str.strip, row)) for row in got] == rows, (content, file.notes)
    assert not header or file.names == NAMES


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text(st.characters(codec="utf-8"), max_size=8), max_size=30).map("\n".join),
    st.binary(max_size=99),
)
@example('a\n"b\nc,"d', b"")
def test_any_text_is_looked_at_without_a_crash(tmp_path_factory, text, noise):
    path = tmp_path_factory.mktemp("d") / "t.csv"
    path.write_bytes(text.encode() + noise)
    try:
        file = open_file(path)
        for batch in file.batches(file.names):
            assert set(batch.columns) == set(file.names) or not batch.rows
    except UserError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("anna1,lamp3,4,2017-07-14\nanna1,lamp9,5,2017-07-15\nbob2,lamp3,1,2017-08-01\n", None),
        ("u1\tSong A\t3\nu1\tSong B\t1\nu2\tSong A\t9\n", None),
        ("196,242,3\n186,302,3\n22,377,1\n", None),
        ("user,101,102,103\nanna,5,,3\nbob,,4,4\n", ("user", "101", "102", "103")),
        (",user,item\n0,anna,b1\n1,bob,b2\n", ("column_1", "user", "item")),
        ("isbn;title\n123;Emma\n456;Dune\n", ("isbn", "title")),
        ("user item\n1 anna b1\n2 bob b2\n3 bob b7\n", ("row", "user", "item")),  # R's row names
        ("# FromUser\tToItem\n1\t2\n1\t3\n2\t9\n", ("FromUser", "ToItem")),
        ("kunde;artikel\nk1;a1\n", ("kunde", "artikel")),
    ],
)
def test_a_header_is_told_from_a_row(tmp_path, content, names):
    path = tmp_path / "t.txt"
    path.write_text(content)
    found = look_at(path)
    assert found.dialect.has_header == (names is not None)
    if names is None:
        assert "--header" in " ".join(found.notes)
    else:
        assert found.names == names


def test_what_is_said_overrules(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("one line\nuser,item\n#x,y\nanna,'b,1'\nbob,b2\n")
    said = DialectOptions(skip_lines=1, quote="'", comment="#", header="first", separator=",")
    file = open_file(path, dialect=said)
    batches = list(file.batches(file.names))
    assert [batch.columns["item"].to_pylist() for batch in batches] == [["b,1", "b2"]]
    assert open_file(path, dialect=DialectOptions(skip_lines=1, header="none")).names == (
        "column_1",
        "column_2",
    )
    for wrong, message in (
        ({"quote": "ab"}, "--quote"),
        ({"escape": "!"}, "--escape"),
        ({"skip_lines": 99}, "--skip_lines"),
        ({"encoding": "klingon"}, "--encoding"),
        ({"header": "a,b,c", "skip_lines": 1}, "--header: 3 names"),
    ):
        with pytest.raises(UserError, match=message):
            open_file(path, dialect=DialectOptions(**wrong))


@pytest.mark.parametrize(
    ("text", "encoding", "found"),
    [
        ("Amélie\nThe “Best” – 5 €\n", "cp1252", "cp1252"),
        ("Książka o żabach\nWłóczęga\n", "cp1250", "cp1250"),
        ("Пикник на обочине\nМастер и Маргарита\n" * 3, "cp1251", "cp1251"),
        ("plain\n", "ascii", "utf-8"),
        ("a,b\n1,2\n", "utf-16-le", "utf-16-le"),
        ("Ünal\n" * 5 + "b\udcff\n", "utf-8", "utf-8"),  # damage among good UTF-8
    ],
)
def test_encodings(text, encoding, found):
    assert detect(text.encode(encoding, "surrogateescape")) == found


def test_unquoted_quotes_of_a_tsv_lose_no_row(tmp_path):
    """Last.fm's names: quotes are text there, and all rows are read."""
    names = ["The Who Knows", '"Odd" Ollie Band', '"', 'Loud "live"', "Björk"]
    rows = [(f"u{n % 3}", f"a{n}", names[n % 5], str(n)) for n in range(60)]
    path = tmp_path / "plays.tsv"
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    records = table.read(path, columns={"user_id": "user", "item_id": "id", "title": "name", "rating": "none"},
                         header=["user", "id", "name", "plays"], items=path)  # fmt: skip
    assert len(records.interactions) == 60


def test_one_stray_quote_in_a_csv_costs_one_row(tmp_path):
    text = io.StringIO()
    csv.writer(text).writerows([NAMES, *rows_of(WORDS * 3)])
    path = tmp_path / "t.csv"
    path.write_text(text.getvalue() + 'zoe,"b1,3,2020-01-01,open\nanna,b2,4,2020-02-01,fine\n')
    batches = list(open_file(path).batches(NAMES))
    assert [row.line for batch in batches for row in batch.bad] == [23]
    assert sum(batch.rows for batch in batches) == 22
