"""Metrics as NumPy functions with one value an example, so that intervals and pairings come for free."""

from p5t5.metrics.intervals import Interval, bootstrap_interval, paired_bootstrap
from p5t5.metrics.ranking import candidate_ranks, hit, list_ranks, ndcg
from p5t5.metrics.rating import absolute_error, accuracy, auc, mae, rmse, squared_error

__all__ = [
    "Interval",
    "absolute_error",
    "accuracy",
    "auc",
    "bootstrap_interval",
    "candidate_ranks",
    "hit",
    "list_ranks",
    "mae",
    "ndcg",
    "paired_bootstrap",
    "rmse",
    "squared_error",
]
