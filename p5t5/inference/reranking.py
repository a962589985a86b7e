"""After decoding: diversity, boosts and promotions, each with the reason why an item stands where it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from p5t5.checkpoint.checkpoint import Checkpoint
from p5t5.core.errors import UserError

MODEL, POPULAR, SIMILAR, BOOST, PROMOTION = "model", "popular", "similar", "boost", "promotion"


@dataclass(frozen=True)
class Reranking:
    """How a ranked list is put in another order.

    - ``diversity``: from 0 (the ranking as it is) to 1 (each item as unlike those above it as can be): maximal marginal
      relevance (Carbonell & Goldstein 1998) over item vectors.
    - ``boosts``: item → what is added to its score, in units of the pool's standard deviation.
    - ``promotions``: items to be shown, best first by their own scores, in at most ``promoted_share`` of the places.
    - ``pool``: how many ranked items a new order is made from.
    """

    diversity: float = 0.0
    boosts: Mapping[int, float] = field(default_factory=dict)
    promotions: Sequence[int] = ()
    promoted_share: float = 0.2
    pool: int = 100

    def __post_init__(self) -> None:
        for name, value in (("diversity", self.diversity), ("promoted_share", self.promoted_share)):
            if not 0 <= value <= 1:  # NaN too
                raise UserError(f"{name} is {value}, but must lie between 0 and 1.")
        wrong = [value for value in self.boosts.values() if not np.isfinite(value)]
        if wrong:
            raise UserError(f"boosts: {wrong[0]} is no finite number.")

    @property
    def changes(self) -> bool:
        """Whether the order can differ from the ranking's."""
        return bool(self.diversity or self.boosts or (len(self.promotions) and self.promoted_share))


def item_vectors(checkpoint: Checkpoint) -> np.ndarray:
    """float32 [items, dimensions], of length 1: the mean of the model's embeddings of each identifier's tokens."""
    table = checkpoint.model.get_input_embeddings().weight.detach().float().cpu().numpy()
    tokens = checkpoint.catalogue.tokens
    present = (tokens >= 0)[..., None]
    vectors = (table[np.maximum(tokens, 0)] * present).sum(1) / np.maximum(present.sum(1), 1)
    vectors = vectors - vectors.mean(0)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(length, 1e-12)).astype(np.float32)


def most_similar(vectors: np.ndarray, item: int) -> tuple[np.ndarray, np.ndarray]:
    """(items, cosines) of all other items, the most similar first: int64 and float32 [items − 1]."""
    cosine = vectors @ vectors[item]
    order = np.argsort(-cosine, kind="stable")
    order = order[order != item]
    return order, cosine[order]


def diversified(scores: np.ndarray, vectors: np.ndarray, k: int, diversity: float) -> list[int]:
    """Positions of k of n ranked items in the order of maximal marginal relevance.

    Each next item has the highest (1 − diversity) · relevance − diversity · (largest cosine with an item chosen
    before), relevance being the score brought to 0…1 over the n items. ``scores`` float [n]; ``vectors``
    float [n, d] of length 1. Ties: the better ranked first.
    """
    low, high = float(scores.min(initial=0)), float(scores.max(initial=0))
    finite = np.isfinite(scores)
    if finite.any():
        low, high = float(scores[finite].min()), float(scores[finite].max())
    relevance = np.where(finite, (scores - low) / max(high - low, 1e-12), 0.0)
    nearest = np.full(len(scores), -np.inf)
    chosen: list[int] = []
    left = np.ones(len(scores), bool)
    for _ in range(min(k, len(scores))):
        penalty = np.where(np.isneginf(nearest), 0.0, nearest)
        value = np.where(left, (1 - diversity) * relevance - diversity * penalty, -np.inf)
        best = int(value.argmax())
        chosen.append(best)
        left[best] = False
        nearest = np.maximum(nearest, vectors @ vectors[best])
    return chosen


def rerank(
    items: Sequence[int], scores: Sequence[float], vectors: np.ndarray, k: int, how: Reranking
) -> list[tuple[int, float, str]]:
    """(item, score, reason) of the k items to show; the reason is "" where the ranking itself put it there.

    ``items`` and ``scores``: the ranked pool, best first, the promoted items among them; ``vectors`` float
    [all items, d].
    """
    pool = np.asarray(items, np.int64)
    raw = np.asarray(scores, np.float64)
    unit = float(raw[np.isfinite(raw)].std()) if len(raw) else 0.0
    unit = unit or 1.0
    raised = raw + np.array([how.boosts.get(item, 0.0) for item in pool.tolist()]) * unit
    order = np.argsort(-raised, kind="stable")
    pool, raised = pool[order], raised[order]
    promoted = [item for item in pool.tolist() if item in set(how.promotions)]
    places = int(how.promoted_share * k) if promoted else 0
    promoted = promoted[:places]
    own = ~np.isin(pool, promoted)
    if how.diversity:
        rest = np.flatnonzero(own)
        shown = rest[diversified(raised[rest], vectors[pool[rest]], k, how.diversity)]
    else:
        shown = np.flatnonzero(own)[:k]
    score = dict(zip(pool.tolist(), raised.tolist(), strict=True))
    reason = {item: BOOST for item in how.boosts if how.boosts[item]}
    listed = [(item, score[item], reason.get(item, "")) for item in pool[shown].tolist()]
    for index, item in enumerate(promoted):
        place = (index * k) // max(places, 1)
        listed.insert(min(place, len(listed)), (item, score[item], PROMOTION))
    return listed[:k]


def popularity(checkpoint: Checkpoint, standing: np.ndarray | None = None) -> np.ndarray | None:
    """float [items], higher is more popular, NaN where unknown; None where nothing tells it.

    ``standing``: counts of interactions by item, where data is at hand. Else what the catalogue keeps
    (``item_count``), else how much better than the mean each item is rated.
    """
    if standing is not None and standing.any():
        return standing.astype(np.float64)
    count = checkpoint.catalogue.item_count
    if count is not None and count.any():
        return count.astype(np.float64)
    bias = checkpoint.catalogue.item_bias
    return None if bias is None else bias.astype(np.float64)
