"""CSV in blocks: the same rows as Python's csv module, whatever the block; good rows survive bad neighbours."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p5t5.data.sources import csv_blocks
from p5t5.data.sources.csv_blocks import Layout, csv_batches
from p5t5.data.sources.csv_records import Dialect

CELL = st.lists(st.sampled_from(["a", "é", ",", '"', "\n", " ", "\r\n", "7", ";"]), max_size=6).map("".join)


def rows_of(path, names=("a", "b"), one_line=(), size=None):
    """([(line, cells)], [(line, reason)])"""
    good, bad = [], []
    for batch in csv_batches(
        path, Layout(tuple(names), Dialect(), tuple(names), tuple(one_line), ("a",)), size
    ):
        columns = [batch.columns[name].to_pylist() for name in names] if batch.rows else []
        good += [
            (int(batch.place(n).split()[1]), cells) for n, cells in enumerate(zip(*columns, strict=True))
        ]
        bad += [(row.line, row.reason) for row in batch.bad]
    return good, bad


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(CELL, CELL), max_size=8),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([1, 7, 10**6]),
    st.booleans(),
)
def test_as_the_csv_module_reads_it(tmp_path_factory, cells, newline, size, ends):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=newline, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *cells])
    content = text.getvalue() if ends else text.getvalue().removesuffix(newline)
    path.write_bytes(content.encode())
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.reader(file, strict=True)
        next(reader)
        expected, line = [], reader.line_num
        for row in reader:
            expected.append((line + 1, tuple(row)))
            line = reader.line_num
    good, bad = rows_of(path, size=size)
    assert not bad and [cells for _, cells in good] == [cells for _, cells in expected]
    if "\r" not in "".join(map("".join, cells)):  # Python counts a lone \r within quotes as a line
        assert [line for line, _ in good] == [line for line, _ in expected]


@pytest.mark.parametrize("size", [1, 8, 10**6])
@pytest.mark.parametrize(
    ("content", "good", "bad"),
    [
        ('x,"y\nu,v\n', [(3, "u")], [(2, "quote")]),  # never closed: only its own line goes
        ('x,"y\nu,v\nw,"z\nq,r\n', [(3, "u"), (5, "q")], [(2, "quote"), (4, "quote")]),
        ('x,"y"z\nu,v\n', [(3, "u")], [(2, "quote")]),
        ('x,5" disk\nu,v\n', [(2, "x"), (3, "u")], []),  # a quote within a field is text
        ("x\nu,v\nx,y,z\n\n\r\nw,z", [(3, "u"), (7, "w")], [(2, "fields"), (4, "fields")]),
        ("x,\xff\nu,v\n", [(3, "u")], [(2, "UTF-8")]),
        ("x\ry,z\nu,v\n", [(2, "x\ry"), (3, "u")], []),  # CR alone ends no line
        ('"x\ny",z\nu,v\n', [(4, "u")], [(2, "quote"), (3, "quote")]),  # an id holds one line
        ("", [], []),
    ],
)
def test_good_rows_survive_bad_neighbours(tmp_path, monkeypatch, content, good, bad, size):
    (tmp_path / "t.csv").write_bytes(b"a,b\n" + content.encode("latin-1"))
    found, refused = rows_of(tmp_path / "t.csv", one_line=("a",), size=size)
    assert [(line, cells[0]) for line, cells in found] == good
    assert [line for line, _ in refused] == [line for line, _ in bad]
    assert all(word in reason for (_, reason), (_, word) in zip(refused, bad, strict=True))


def test_a_quote_that_is_open_too_long_was_never_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_blocks, "LONGEST_RECORD", 100)
    (tmp_path / "t.csv").write_text('a,b\nx,"y\n' + "u,v\n" * 50)
    good, bad = rows_of(tmp_path / "t.csv", size=64)
    assert len(good) == 50 and bad == [(2, csv_blocks.BAD_QUOTE)]
