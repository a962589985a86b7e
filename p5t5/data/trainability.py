"""Whether there is anything to learn from a data set, and to test on."""

from __future__ import annotations

import numpy as np

from p5t5.data.records.tables import IndexedRecords

TESTABLE = 3  # interactions of a user of which one is tested, one is for validation and one is learned from


def why_not_trainable(data: IndexedRecords) -> str:
    """What a data set lacks to be trained on and tested, in a sentence; "" where it lacks nothing."""
    most = int(np.diff(data.user_start).max(initial=0))
    if data.number_of_items < 2:
        return "there is one item, and nothing to choose between"
    if most < TESTABLE:
        return f"no user has {TESTABLE} interactions or more (the most is {most}), so none can be held back for validation and test"
    return ""
