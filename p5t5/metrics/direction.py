"""Whether more or less of a metric is better."""

from __future__ import annotations

import re

LOWER_IS_BETTER = frozenset(
    {"rmse", "mae", "mse", "ece", "width80", "feature_overlap", "loss", "perplexity", "error"}
)


def lower_is_better(metric: str) -> bool:
    """Whether the smaller of two values of ``metric`` is the better one.

    Decided by its name without a task before it and a cut-off behind it: "review/score:RMSE" is "rmse",
    "ndcg@10" is "ndcg". Names that are not known count as better when higher.
    """
    return re.split(r"[/:]", metric)[-1].split("@")[0].lower() in LOWER_IS_BETTER
