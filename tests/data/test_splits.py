"""Splits: hand-made cases, slow twins, k-core."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p5t5.core.errors import UserError
from p5t5.data.records.building import make_records
from p5t5.data.splits import PARTS, k_core, leave_one_out, split_by, temporal


def data_of(rows, times=True):
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    return make_records("t", table if times else table.drop(columns="timestamp")).index()


EVENTS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from("uvwxyz"), st.integers(0, 30)), min_size=1, max_size=60
)


def test_leave_one_out_by_hand():
    data = data_of(
        [
            ("a", "x", 1),
            ("a", "y", 2),
            ("a", "z", 3),
            ("a", "w", 4),
            ("b", "x", 1),
            ("b", "y", 2),
            ("c", "x", 5),
        ]
    )
    split = leave_one_out(data)
    assert [PARTS[part] for part in split.part] == [
        "train",
        "train",
        "validation",
        "test",
        "train",
        "train",
        "train",
    ]
    assert split.rows("test").tolist() == [3]
    assert split.history(np.array([3, 2]), 2).to_lists() == [[1, 2], [0, 1]]
    items = data.item_ids[split.history_items(np.array([3]), 9).values].tolist()
    assert items == ["x", "y", "z"]  # the validation item is in the history of the test row


@settings(max_examples=60, deadline=None)
@given(EVENTS)
def test_leave_one_out_equals_its_slow_twin(events):
    data = data_of(events)
    part = leave_one_out(data).part
    for user in range(data.number_of_users):
        rows = [row for row in range(len(data)) if data.user[row] == user]
        expected = [0] * len(rows)
        if len(rows) >= 3:
            expected[-2:] = [1, 2]
        assert [part[row] for row in rows] == expected


@settings(max_examples=80, deadline=None)
@given(EVENTS)
def test_temporal_cuts_are_global_and_never_split_a_second(events):
    data = data_of(events)
    try:
        part = temporal(data, 0.2, 0.2).part
    except UserError:
        return
    for early in range(3):
        for late in range(early + 1, 3):
            assert data.timestamp[part == early].max() < data.timestamp[part == late].min()


def test_temporal_shares():
    data = data_of([(str(n % 7), str(n % 11), n) for n in range(100)])
    assert np.bincount(temporal(data).part).tolist() == [80, 10, 10]
    assert np.bincount(split_by("temporal", data).part).tolist() == [80, 10, 10]


def test_temporal_errors():
    with pytest.raises(UserError, match="needs the column timestamp"):
        temporal(data_of([("a", "x", 1)], times=False))
    with pytest.raises(UserError, match="leaves train empty"):
        temporal(data_of([("a", "x", 1), ("a", "y", 1)]))
    with pytest.raises(UserError, match="must be above 0"):
        temporal(data_of([("a", "x", 1)]), 0.6, 0.5)
    with pytest.raises(UserError, match="no split 'shuffled'; there are loo, temporal, random"):
        split_by("shuffled", data_of([("a", "x", 1)]))


def slow_k_core(rows, k):
    while True:
        keep = [
            (u, i) for u, i in rows if sum(v == u for v, _ in rows) >= k and sum(j == i for _, j in rows) >= k
        ]
        if keep == rows:
            return rows
        rows = keep


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.integers(1, 4))
def test_k_core_equals_its_slow_twin(events, k):
    rows = [(user, item) for user, item, _ in events]
    table = k_core(pd.DataFrame(rows, columns=["user_id", "item_id"]), k)
    assert list(table.itertuples(index=False, name=None)) == slow_k_core(rows, k)
