"""A model may be used as its data may."""

from __future__ import annotations

import pytest

from p5t5.core.errors import UserError
from p5t5.data.licences import AMAZON, MOVIELENS, UNKNOWN, licence_of


@pytest.mark.parametrize(
    ("told", "licence"),
    [
        (("ml-100k",), MOVIELENS), (("my-ml-1m",), MOVIELENS), (("mine", "MovieLens 100K: a.zip"), MOVIELENS),
        (("Amazon_Beauty",), AMAZON), (("shop",), UNKNOWN), (("html-100",), UNKNOWN), ((), UNKNOWN),
    ],
)  # fmt: skip
def test_known_by_what_is_told_of_the_data(told, licence):
    assert licence_of(*told) == licence
    assert licence.front_matter()["license"] == "other"


def test_simulated_data_bind_nobody():
    assert licence_of("simulated").front_matter() == {"license": "apache-2.0"}


@pytest.mark.parametrize("chosen", ["apache-2.0", "MIT", "cc-by-4.0", "openrail"])
def test_research_only_data_never_give_a_free_model(chosen):
    with pytest.raises(UserError, match="research only"):
        licence_of("ml-100k", chosen=chosen)
    assert licence_of("shop", chosen=chosen).id == chosen.lower()


def test_the_user_can_say_it():
    assert licence_of("ml-100k", chosen="cc-by-nc-4.0").front_matter() == {"license": "cc-by-nc-4.0"}
    assert licence_of("ml-100k", chosen="other") == MOVIELENS
    with pytest.raises(UserError, match="identifiers"):
        licence_of("shop", chosen="do: what\nyou: want")
