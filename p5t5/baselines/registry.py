"""The baselines that rank the catalogue, in the order of reports. A new one is a Scorer and one line here."""

from __future__ import annotations

import importlib.util

from p5t5.baselines.base import Scorer
from p5t5.baselines.rankers import ALS, BPR, CooccurrenceRanker, ItemKNN, Popularity
from p5t5.baselines.text_similarity import ContentSimilarity
from p5t5.data.splits import Split

RANKERS: list[type[Scorer]] = [Popularity, CooccurrenceRanker, ContentSimilarity, ItemKNN, ALS, BPR]


def default_scorers(split: Split, with_implicit: bool | None = None, in_fusion: bool = False) -> list[Scorer]:
    """The rankers that the data and the installed packages allow, fitted on the training rows.

    ``with_implicit``: with those that need the package implicit; None: where it is installed.
    ``in_fusion``: only those that a fusion may hold.
    """
    if with_implicit is None:
        with_implicit = importlib.util.find_spec("implicit") is not None
    wanted = [
        ranker
        for ranker in RANKERS
        if (with_implicit or not ranker.needs_implicit) and (ranker.in_fusion or not in_fusion)
    ]
    return [scorer for ranker in wanted if (scorer := ranker.fitted(split)) is not None]
