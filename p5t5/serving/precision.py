"""What a lower precision of the weights changes: how far the lists agree with those of float32."""

from __future__ import annotations

import numpy as np

from p5t5.checkpoint.hub import resolve
from p5t5.core.randomness import hashed
from p5t5.recommender import Recommender
from p5t5.serving.settings import Settings

HISTORIES, LENGTH, TOP = 50, 5, 10


def top_overlap(one: Recommender, other: Recommender, histories: int = HISTORIES) -> float:
    """The mean share of the top 10 that two recommenders of one catalogue share, over histories drawn by a fixed seed."""
    ids = np.array(one.catalogue.item_ids, object)
    k = min(TOP, len(ids))
    lists = []
    for rec in (one, other):
        does = rec.operations
        plans = []
        for number in range(histories):
            order = np.argsort(hashed(0, number, np.arange(len(ids))))
            person = does.person(None, ids[order[:LENGTH]].tolist(), None)
            plans.append(does.recommend(person, k, exclude_seen=False))
        found = rec.together(plans)
        lists.append(
            [{item.item_id for item in answer.items} for answer in found if not isinstance(answer, Exception)]
        )
    return float(np.mean([len(a & b) / k for a, b in zip(*lists, strict=True)]))


def agreement(settings: Settings) -> str:
    """A line for people: the overlap of the top 10 in ``settings.dtype`` with float32."""
    folder = resolve(settings.model)
    exact = Recommender.from_pretrained(folder, settings.device)
    other = Recommender.from_pretrained(folder, settings.device, dtype=settings.dtype)
    share = top_overlap(exact, other)
    return f"{settings.dtype}: {100 * share:.1f} % of the top {TOP} are those of float32, over {HISTORIES} random histories"
