"""The report of a data folder: its numbers by hand, its suspicions, its page."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from p5t5.data.records.building import make_records
from p5t5.data.sources.simulated import simulate
from p5t5.reporting.data_page import DataReport
from p5t5.reporting.data_statistics import data_statistics, histogram


def records_of(rows, **more):
    return make_records(
        "t", pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"]), **more
    )


ROWS = [
    ("a", "x", 5, 86_400 * 366), ("a", "y", 4, 86_400 * 400), ("a", "x", 5, 86_400 * 400), ("b", "x", 5, 86_400 * 500),
]  # fmt: skip


def test_measures_by_hand():
    found = data_statistics(records_of(ROWS).index())
    assert (found.users, found.items, found.interactions, found.testable) == (2, 2, 4, 1)
    assert found.per_user.tolist() == [3, 1] and found.per_item.tolist() == [3, 1]
    assert found.share_of_top(0.5) == 0.75
    assert found.repeats == 0.25 and found.ties == 0.25
    assert [part.tolist() for part in found.ratings] == [[4, 5], [1, 3]]
    assert (found.first, found.last) == ("1971-01-02", "1971-05-16")
    assert found.periods[0] == ["1971-01", "1971-02", "1971-03", "1971-04", "1971-05"]
    assert found.periods[1].tolist() == [1, 2, 0, 0, 1]
    late = data_statistics(records_of([("a", "x", 1, 0), ("a", "y", 2, 86_400 * 366 * 10)]).index())
    assert late.periods[0] == [str(year) for year in range(1970, 1981)]


def test_times_beyond_every_calendar_are_no_crash():
    found = data_statistics(records_of([("a", "x", 1, -(2**60)), ("a", "y", 2, 2**60)]).index())
    assert found.first == f"second {-(2**60)}" and found.periods == ([], pytest.approx(np.zeros(0)))


def test_histogram_bins():
    labels, numbers = histogram(np.array([1, 1, 2, 3, 4, 5, 8, 9, 16, 17]))
    assert dict(zip(labels, numbers, strict=True)) == {
        "1": 2,
        "2": 1,
        "3–4": 2,
        "5–8": 2,
        "9–16": 2,
        "17–32": 1,
    }
    assert histogram(np.array([0, 1])) == (["0", "1"], [1, 1])


SUSPICIOUS = {
    "users have one interaction": [(f"u{n}", f"i{n % 3}", n % 5, 10**9 + n) for n in range(20)],
    "all times are the same": [("a", f"i{n}", n % 5, 10**9) for n in range(20)],
    "same time as the user's one before": [("a", f"i{n}", n % 5, 10**9 + n // 4) for n in range(20)],
    "all ratings are 5": [("a", f"i{n}", 5, 10**9 + n) for n in range(20)],
    "of the ratings are 4": [("a", f"i{n}", 4 - (n == 7), 10**9 + n) for n in range(20)],
    "user ids differ from another only by their spelling: ": [(["Ann", "ann"][n % 2], f"i{n}", n % 5, 10**9 + n) for n in range(20)],
    "repeat the user, item and time": [("a", f"i{n % 18}", n % 5, 10**9 + n % 18) for n in range(20)],
    "item that the user met before": [("a", f"i{n % 4}", n % 5, 10**9 + n) for n in range(20)],
    "times lie in the future": [("a", f"i{n}", n % 5, 10**9 + n * 10**9) for n in range(20)],
    "times lie before 1980, from 1970-01-01": [("a", f"i{n}", n % 5, 10**9 * (n > 2) + n) for n in range(20)],
    "all times lie before 1980": [("a", f"i{n}", n % 5, n) for n in range(20)],
    "the user is the item": [(f"{n % 9}", f"{n % 9}", n % 5, 10**9 + n) for n in range(20)],
    "rows could not be used": [("a", f"i{n}" if n % 2 else "", n % 5, 10**9 + n) for n in range(20)],
    "items were met once": [("a", f"i{n}", n % 5, 10**9 + n) for n in range(20)],
    "one user has 50% of all": [("a" if n % 2 else f"u{n}", f"i{n % 40}", n % 5, 10**9 + n) for n in range(400)],
    "of the items have no title": ROWS,
    "the item table has sales_rank": ROWS,
}  # fmt: skip


@pytest.mark.parametrize("what", SUSPICIOUS)
def test_suspicions(what):
    items = pd.DataFrame({"item_id": ["x"], "title": ["X"], "sales_rank": ["1"]})
    records = records_of(SUSPICIOUS[what], items=items if SUSPICIOUS[what] is ROWS else None)
    report = DataReport(records.index(), records.info)
    assert [each for each in report.warnings if what in each.what and each.remedy], report.warnings


def test_clean_data_give_no_alarm():
    records = simulate(users=300, items=160).records
    report = DataReport(records.index(), records.info)
    assert not report.warnings, report.warnings
    assert "Nothing looks wrong." in report.page()


def test_the_page_is_whole_and_escapes(tmp_path):
    records = records_of(ROWS)
    problem = {"reason": "<b>", "rows": 3, "first": "f.csv, line 2: '<script>'", "remedy": "mend it"}
    records.info |= {"dropped": {"<b>": 3}, "problems": [problem], "columns": {"user_id": "who (named)"}}
    report = DataReport(records.index(), records.info, ["tasks: rating/score"])
    report.write(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page and "mend it" in page
    assert page.count("<figure>") == 5 and "http" not in page and "our user_id: who (named)" in page
    assert not list(tmp_path.glob("*.tmp"))
    assert any(line.startswith("ratings: 4 25%, 5 75%, mean 4.75") for line in report.lines())
