"""Generated files with known good rows among bad ones, and what importing them must do.

``check`` runs `p5t5 prepare table` on one: no traceback, every good row in the data folder with its values,
every other row counted and the first of each kind named; or, where the file as a whole is at fault, one line
that names it, and no folder.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from p5t5.cli.prepare import main
from p5t5.data.records.cleaning import clean_text
from p5t5.data.records.loading import load_records
from p5t5.data.sources import csv_blocks

COLUMNS = ("user", "item", "rating", "time", "review")
IDS = [
    "007",
    "1e5",
    "NA",
    "null",
    "nan",
    "True",
    "-1",
    "u 1",
    "Ünal",
    "a,b",
    'say "hi"',
    '"',
    "<item_3>",
    "=1+1",
    "1.50",
]
REVIEWS = [
    "",
    "fine",
    "two\nlines",
    'a "quote", a comma',
    "</s> ok",
    "ünïcode ✓",
    "tab\there",
    '"',
    "line\r\nend",
]

# A row's fault: what stands in which column instead. None of these rows can be used.
CELL_FAULTS = [
    ("user", ""), ("user", "  "), ("item", ""), ("user", "a\x00b"), ("item", "\x07"), ("item", "\u202e"),
    # "3,5" is a slip among few such cells; where most ratings are written so, commas are read as points.
    ("rating", "good"), ("rating", ""), ("rating", "see text"), ("rating", "1e999"), ("rating", "inf"), ("rating", "3,5"),
    ("rating", "--1"), ("rating", "99999999999"), ("time", "soon"), ("time", ""), ("time", "2020-13-45"), ("time", "now"),
    ("time", "1e400"), ("time", "14/14/2015"), ("time", "99999999999999999999999"),
]  # fmt: skip
CSV_FAULTS = ["short", "long", "open quote", "misplaced quote", "not utf-8", "separators only"]
JSON_FAULTS = ["cut", "array", "word", "not utf-8", "nested user", "surrogate", "deep", "long number"]
FILE_FAULTS = [
    "cut gzip",
    "cut parquet",
    "utf-16",
    "empty",
    "header only",
    "random",
    "no such column",
    "same column twice",
]
KINDS = ["csv", "csv", "csv", "tsv", "csv.gz", "jsonl", "jsonl", "jsonl.gz", "parquet"]


@dataclass
class Input:
    """``good``: the rows that must arrive, as (user, item, rating, seconds, review). ``whole``: a fault of the file."""

    kind: str
    content: bytes
    good: list[tuple]
    bad: int
    whole: str
    faults: list[str]
    block: int  # bytes of CSV that are read at a time


@st.composite
def inputs(draw) -> Input:
    kind = draw(st.sampled_from(KINDS))
    whole = draw(st.sampled_from([""] * 9 + FILE_FAULTS))
    ids = st.one_of(st.sampled_from(IDS), st.text("abcXYZ019_-.é漢", min_size=1, max_size=6))
    unit = draw(st.sampled_from(["seconds", "milliseconds", "date"]))
    rows: list[tuple[dict[str, str], str]] = []
    for number in range(draw(st.integers(1, 30))):
        seconds = 1_400_000_000 + 86_400 * number
        cells = {
            "user": draw(ids), "item": draw(ids), "rating": draw(st.sampled_from(["1", "4.5", "5", "-2", "0", "3e0"])),
            "time": _time(seconds, unit), "review": draw(st.sampled_from(REVIEWS)),
        }  # fmt: skip
        fault = ""
        if draw(st.integers(0, 3)) == 0:
            specific = JSON_FAULTS if kind.startswith("json") else [] if kind == "parquet" else CSV_FAULTS
            fault = draw(st.sampled_from(["cell"] * 4 + specific))
            if fault == "cell":
                column, cell = draw(st.sampled_from(CELL_FAULTS))
                cells[column], fault = cell, f"{column} {cell!r}"
        rows.append((cells, fault))
    good = [_expected(cells, number) for number, (cells, fault) in enumerate(rows) if not fault]
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    bom = draw(st.booleans())
    content = _content(kind, rows, newline, bom, whole, draw)
    bad = sum(bool(fault) for _, fault in rows)
    block = draw(st.sampled_from([csv_blocks.BLOCK, 16, 100]))
    return Input(kind, content, good, bad, whole, [fault for _, fault in rows if fault], block)


def _time(seconds: int, unit: str) -> str:
    if unit == "date":
        return pa.scalar(seconds, pa.timestamp("s")).as_py().strftime("%Y-%m-%d %H:%M:%S")
    return str(seconds * 1000 if unit == "milliseconds" else seconds)


def _expected(cells: dict[str, str], number: int) -> tuple:
    seconds = 1_400_000_000 + 86_400 * number
    return (
        cells["user"].strip(),
        cells["item"].strip(),
        float(cells["rating"]),
        seconds,
        clean_text(cells["review"]),
    )


def _content(kind: str, rows, newline: str, bom: bool, whole: str, draw) -> bytes:
    if whole == "random":
        return draw(st.binary(max_size=400))
    if whole == "empty":
        return b""
    if whole == "header only":
        rows = []
    if kind == "parquet":
        return _parquet(rows, whole)
    if kind.startswith("json"):
        content = b"".join(_json_line(cells, fault) + newline.encode() for cells, fault in rows)
    else:
        separator = "\t" if kind == "tsv" else ","
        names = list(COLUMNS)
        if whole == "no such column":
            names[0] = "colour"
        if whole == "same column twice":
            names[1] = "user"
        if kind == "tsv":  # else a quote that is never closed is text, as it is in most such files
            names = [f'"{name}"' for name in names]
        content = separator.join(names).encode() + newline.encode()
        content += b"".join(_csv_line(cells, fault, separator, newline) for cells, fault in rows)
    if bom:
        content = b"\xef\xbb\xbf" + content
    if whole == "utf-16":
        content = content.decode("utf-8", "replace").encode("utf-16")
    if kind.endswith(".gz"):
        content = gzip.compress(content)
        content = content[: len(content) // 2] if whole == "cut gzip" else content
    return content


def _csv_line(cells: dict[str, str], fault: str, separator: str, newline: str) -> bytes:
    values = [cells[name] for name in COLUMNS]
    if fault == "short":
        values = values[:3]
    if fault == "long":
        values.append("more")
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator, lineterminator=newline).writerow(values)
    line = text.getvalue()
    plain = [
        value.replace('"', "").replace("\n", " ").replace("\r", " ").replace(separator, " ")
        for value in values
    ]
    if fault == "open quote":
        line = separator.join([plain[0], '"' + plain[1], *plain[2:]]) + newline
    if fault == "misplaced quote":
        line = separator.join([plain[0], f'"{plain[1]}" x', *plain[2:]]) + newline
    if fault == "separators only":
        line = separator * 4 + newline
    encoded = line.encode("utf-8")
    if fault == "not utf-8":
        encoded = separator.join(["b\xff", *plain[1:]]).encode("latin-1", "replace") + newline.encode()
    return encoded


def _json_line(cells: dict[str, str], fault: str) -> bytes:
    row: dict[str, object] = dict(cells)
    for name in ("rating", "time"):  # numbers, where they are
        with contextlib.suppress(ValueError):
            row[name] = json.loads(cells[name])
    if fault == "nested user":
        row["user"] = {"id": cells["user"]}
    line = json.dumps(row)
    if fault == "cut":
        line = line[: len(line) // 2]
    if fault in ("array", "word"):
        line = json.dumps([1, 2] if fault == "array" else "word")
    if fault == "surrogate":
        line = json.dumps({**row, "user": "\ud800x"})
    if fault == "deep":
        line = "[" * 100_000
    if fault == "long number":
        line = json.dumps(row)[:-1] + ', "rating": ' + "9" * 5000 + "}"
    return line.encode() if fault != "not utf-8" else line.encode()[:-1] + b', "x": "\xff"}'


def _parquet(rows, whole: str) -> bytes:
    columns = {name: pa.array([cells[name] for cells, _ in rows], pa.string()) for name in COLUMNS}
    if whole == "no such column":
        columns["colour"] = columns.pop("user")
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    content = sink.getvalue()
    return content[: len(content) // 2] if whole == "cut parquet" else content


def check(made: Input) -> str:
    """Imports the file and asserts all of the above. Returns "imported" or "refused"."""
    folder = Path(tempfile.mkdtemp(prefix="p5t5-fuzz-"))
    sizes = csv_blocks.BLOCK, csv_blocks.LONGEST_RECORD
    try:
        csv_blocks.BLOCK, csv_blocks.LONGEST_RECORD = made.block, sizes[1] if made.block > 100 else 150
        path = folder / f"rows.{made.kind}"
        path.write_bytes(made.content)
        named = [word for name in COLUMNS for word in (f"--{name}", name)]
        said, complained = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
            code = main(["table", str(path), *named, "--out", str(folder / "data")])
        complaint = complained.getvalue()
        if code:
            assert code == 2 and complaint.startswith("p5t5 prepare: ") and complaint.count("\n") == 1, (
                complaint
            )
            assert path.name in complaint and not (folder / "data").exists(), complaint
            total = len(made.good) + made.bad
            mostly_bad = total >= 20 and made.bad > total / 2
            assert made.whole or not made.good or mostly_bad, (complaint, made)
            return "refused"
        records = load_records(folder / "data")
        facts = json.loads((folder / "data" / "prepare.json").read_text())
        assert facts["interactions"] + sum(facts["dropped"].values()) == facts["rows_read"]
        for problem in facts["problems"]:
            assert problem["first"].startswith(f"{path.name}, ") and problem["remedy"], problem
        if made.whole in ("", "cut gzip", "cut parquet", "utf-16") or not made.content:
            table = records.interactions
            reviews = table["review"].tolist() if "review" in table else [""] * len(table)
            got = Counter(
                zip(
                    table["user_id"],
                    table["item_id"],
                    table["rating"],
                    table["timestamp"],
                    reviews,
                    strict=True,
                )
            )
            lost = Counter(made.good) - got
            assert not lost, (lost, said.getvalue(), made)
            if not made.whole:
                assert got == Counter(made.good), (got - Counter(made.good), made)
        return "imported"
    finally:
        csv_blocks.BLOCK, csv_blocks.LONGEST_RECORD = sizes
        shutil.rmtree(folder, ignore_errors=True)
