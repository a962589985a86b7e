"""How far a lower precision changes the lists is measured, and said."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support.served import film_settings, save_films

from p5t5.recommender import Recommender
from p5t5.serving.precision import agreement, top_overlap


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("served")
    save_films(root)
    save_films(root / "other", seed=1)
    return root


def test_the_overlap_is_that_of_lists_of_ten_by_hand(root):
    one = Recommender.from_pretrained(root / "model")
    other = Recommender.from_pretrained(root / "other/model")
    assert top_overlap(one, one, 5) == 1.0
    share = top_overlap(one, other, 5)
    assert 0.8 <= share < 1.0  # ten of twelve films: eight are in both at least
    assert np.isclose(share * 50, round(share * 50))


def test_the_line_says_type_and_share(root):
    said = agreement(film_settings(root, dtype="bfloat16"))
    found = re.match(r"bfloat16: ([\d.]+) % of the top 10", said)
    assert found and float(found[1]) >= 80
