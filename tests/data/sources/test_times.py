"""Times in every common style: hand-computed values, a slow twin by the standard library, columns of one order."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p5t5.data.sources.time_units import in_seconds, number_style, read_times, share_of_times
from p5t5.data.sources.times import DigitDates, dates

SECONDS = 1_500_061_998  # 2017-07-14 19:53:18, a Friday


@pytest.mark.parametrize(
    "text",
    [
        "2017-07-14 19:53:18", "2017-07-14T19:53:18Z", "2017-07-14T21:53:18+02:00", "2017-07-14 19:53:18 UTC",
        "2017-07-14 07:53:18 PM", "2017-07-14 7:53:18 p.m.", "20170714T195318Z", "20170714 195318",
        "2017/07/14 19:53:18", "2017.07.14 19:53:18", "14.07.2017 19:53:18", "14-07-2017 19:53:18",
        "14/07/17 19:53:18", "Fri Jul 14 12:53:18 -0700 2017", "Fri Jul 14 12:53:18 PDT 2017",
        "Fri, 14 Jul 2017 19:53:18 +0000", "Fri, 14 Jul 2017 19:53:18 GMT", "[14/Jul/2017:19:53:18 +0000]",
        "Fri Jul 14 2017 21:53:18 GMT+0200 (Central European Summer Time)", "July 14, 2017 7:53:18 PM",
        "Jul 14, 2017, 7:53:18 PM", "July 14th, 2017 at 7:53:18 PM", "14 July 2017 19:53:18", "14-Jul-17 19:53:18",
        "14. Juli 2017 19:53:18", "14 juillet 2017 19:53:18", "14 de julio de 2017 19:53:18", "2017-Jul-14 19:53:18",
        "19:53:18 14/07/2017", "7:53:18 PM, 14 July 2017", "2017-07-14 19.53.18", "14.07.2017 um 19:53:18 Uhr",
        "2017-07-14T19:53:18.000000", "2017-07-14 14:53:18 EST5".replace("EST5", "EST"),
    ],
)  # fmt: skip
def test_styles(text):
    found = dates(pa.array([text, "x"]), "dmy")
    assert found[0] in (SECONDS, SECONDS + 0.0) and np.isnan(found[1]), found[0] - SECONDS


@pytest.mark.parametrize(
    "text",
    ["2017-13-01", "2017-02-30", "31.04.2017", "soon", "Alien (1979)", "24:00", "2017-07-14 25:00", "14 Foo 2017",
     "2017-07-14 19:61", "2017-07-14 19:53 XYZ", "", "5", "99/99/2017"],
)  # fmt: skip
def test_what_is_no_date(text):
    assert np.isnan(dates(pa.array([text]), "dmy")[0])


STYLES = [
    "%Y-%m-%d %H:%M:%S", "%Y/%m/%d %H:%M:%S", "%d.%m.%Y %H:%M:%S", "%d/%m/%Y %I:%M:%S %p", "%d %B %Y %H:%M:%S",
    "%b %d, %Y %I:%M:%S %p", "%a, %d %b %Y %H:%M:%S", "%a %b %d %H:%M:%S %Y", "%Y%m%dT%H%M%S", "%d-%b-%y %H:%M:%S",
    "%B %d %Y, %H:%M:%S", "%H:%M:%S %d-%m-%Y",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.datetimes(datetime(1970, 1, 1), datetime(2068, 1, 1)), min_size=1, max_size=8),
    st.sampled_from(STYLES),
)
def test_written_and_read_back(moments, style):
    """Slow twin: strftime."""
    found = dates(pa.array([moment.strftime(style) for moment in moments]), "dmy")
    wanted = [moment.replace(microsecond=0, tzinfo=timezone.utc).timestamp() for moment in moments]
    assert found.tolist() == wanted


@settings(max_examples=60, deadline=None)
@given(st.integers(-14 * 60, 14 * 60), st.sampled_from(["{}{:02}:{:02}", "{}{:02}{:02}", " GMT{}{:02}{:02}"]))
def test_zones(minutes, form):
    zone = form.format("+-"[minutes < 0], *divmod(abs(minutes), 60))
    local = datetime(2017, 7, 14, 19, 53, 18) + timedelta(minutes=minutes)
    assert dates(pa.array([local.strftime("%Y-%m-%dT%H:%M:%S") + zone]))[0] == SECONDS


def test_fractions_are_kept():
    assert dates(pa.array(["2017-07-14T19:53:18.25", "2017-07-14 19:53:18,5 UTC"])).tolist() == [
        SECONDS + 0.25,
        SECONDS + 0.5,
    ]


@pytest.mark.parametrize(
    ("texts", "order"),
    [
        (["07/14/2017", "07/04/2017"], "mdy"),
        (["14/07/2017 19:53", "04/07/2017 1:00"], "dmy"),
        (["03.04.17", "05.06.17"], "dmy"),  # with points it is so everywhere
        (["17/07/14", "17/08/15", "17/09/16"], "ymd"),
        (["03/04/2017", "05/06/2017"], None),  # no row tells
        (["14/07/2017", "07/14/2017"], None),  # both
        (["03/03/2017", "04/04/2017"], "dmy"),  # the same either way
        (["14/07/2017"] * 40 + ["07/14/2017"], "dmy"),  # one slip
    ],
)
def test_the_order_of_day_and_month_is_decided_over_the_column(texts, order):
    found = DigitDates()
    found.add(pa.array(texts))
    assert found.order()[0] == order
    assert found.rows == len(texts) and not found.are_stray


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.dates(datetime(2001, 1, 1).date(), datetime(2030, 1, 1).date()),
        min_size=60,
        max_size=90,
        unique=True,
    ),
    st.sampled_from(["dmy", "mdy"]),
    st.sampled_from("/-"),
    st.integers(1, 20),
)
def test_orders_of_generated_columns(days, order, separator, pieces):
    """However the column comes in pieces, the order is that in which it was written, or it is asked for."""
    style = separator.join(["%d", "%m", "%Y"] if order == "dmy" else ["%m", "%d", "%Y"])
    texts = [day.strftime(style) for day in days]
    found = DigitDates()
    for start in range(0, len(texts), pieces):
        found.add(pa.array(texts[start : start + pieces]))
    assert found.order()[0] in (order, None)
    assert found.order()[0] == order or all(day.day <= 12 for day in days)


@pytest.mark.parametrize(
    ("texts", "seconds", "style"),
    [
        (["1400000000", "0"], [1400000000, 0], "seconds"),
        (["1400000000.9", " 1400000001"], [1400000000.9, 1400000001], "seconds"),
        (["1400000000123", "1400000001999"], [1400000000.123, 1400000001.999], "milliseconds"),
        (["1400000000123456"], [1400000000.123456], "microseconds"),
        (["1400000000123456789"], [1400000000.1234567], "nanoseconds"),
        (["20140513", "20150101"], [1399939200, 1420070400], "digits"),
        (["201405131653", "20140513165320"], [1399999980, 1400000000], "digits"),
        (["42930.828680555554", "42931"], [SECONDS, 1500076800], "excel"),
        (["3", "1", "2"], [3, 1, 2], "seconds"),  # an order is a time
    ],
)
def test_numbers(texts, seconds, style):
    numbers, is_date, bad = read_times(pa.array(texts))
    assert not bad.any() and not is_date.any()
    assert number_style([numbers]) == style
    assert in_seconds(numbers, style) == pytest.approx(seconds, abs=1e-3)


def test_spreadsheet_days_and_years_only_where_the_column_is_called_a_date():
    assert number_style([np.array([42930.0, 42931])], "order_date") == "excel"
    assert number_style([np.array([42930.0, 42931])], "step") == "seconds"
    assert number_style([np.array([2017.0, 2018])], "date") == "digits"
    assert number_style([np.array([2017.0, 2018])], "n") == "seconds"
    assert (
        number_style([np.array([20140513.0] * 99 + [0])], "n") == "digits"
    )  # one that is none is a bad cell
    assert np.isnan(in_seconds(np.array([0.0]), "digits")).all()


def test_cells_of_other_types():
    assert read_times(pa.array([1, None], pa.timestamp("ms", "UTC")))[0].tolist()[0] == 0.001
    assert read_times(pa.array([1, 2], pa.date32()))[0].tolist() == [86400, 172800]
    seconds, is_date, bad = read_times(pa.array(["31.12.1970", "0000-00-00", "5", "soon", None]), "dmy")
    assert seconds[[0, 2]].tolist() == [364 * 86_400, 5] and np.isnan(seconds[[1, 3, 4]]).all()
    assert is_date.tolist() == [1, 0, 0, 0, 0] and bad.tolist() == [0, 0, 0, 1, 0]
    assert read_times(pa.array([True, False]))[2].tolist() == [True, True]


def test_what_says_time():
    assert share_of_times(["2017-07-14", "x", None, ""]) == 0.5
    assert share_of_times([1_500_000_000, 20170714, 4006381333931]) == pytest.approx(
        2 / 3
    )  # no article number
    assert share_of_times(["Alien (1979)", "5"]) == 0
