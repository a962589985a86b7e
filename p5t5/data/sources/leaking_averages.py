"""Columns of item and user tables that are averages or counts over all interactions, the held-back ones too."""

from __future__ import annotations

import numpy as np
import pandas as pd

from p5t5.data.sources.column_names import NAMES, plain_name

# Aggregates over all purchases, held-back ones included: as attributes they would leak (docs/evaluation.md).
LEAKY = [
    "salesrank",
    "alsobought",
    "alsoviewed",
    "boughttogether",
    "alsobuy",
    "alsoview",
    "similaritem",
    "related",
    "popularity",
    "popularityrank",
    "ratingcount",
    "ratingscount",
    "countratings",
    "averagerating",
    "avgrating",
    "meanrating",
    "ratingavg",
    "ratingaverage",
    "ratingmean",
    "ratingnumber",
    "numratings",
    "numberofratings",
    "nratings",
    "totalratings",
    "votecount",
    "voteaverage",
    "votes",
    "numvotes",
    "numreviews",
    "reviewcount",
    "reviewscount",
    "nreviews",
    "totalreviews",
    "textreviewscount",
    "averagescore",
    "avgscore",
    "meanscore",
    "scoredby",
    "averagestars",
    "avgstars",
    "reviewscore",
    "starrating",
    "bayesianrating",
    "weightedrating",
    "members",
    "rank",
    "ranking",
    "bestsellerrank",
    "favorites",
    "favourites",
    "likes",
    "dislikes",
    "likecount",
    "playcount",
    "plays",
    "viewcount",
    "views",
    "listeners",
    "followers",
    "subscribers",
    "sales",
    "unitssold",
    "sold",
    "purchases",
    "purchasecount",
    "numpurchases",
    "downloads",
    "numberofplayers",
    "owners",
    "fans",
]
ENOUGH = 20  # rows of a table from which it can be told whether a column follows the ratings
_WELL_KNOWN, _KNOWN = 20, 5  # interactions of an item whose average means something


def leaking_columns(table: pd.DataFrame, key: str, interactions: pd.DataFrame) -> dict[str, str]:
    """Column → why it is one: its name, or the rank correlation with what the interactions say.

    ``table``: a row per ``key`` (item_id or user_id); ``interactions``: with that column and perhaps a rating.
    """
    groups = interactions[key].astype("category")
    ids, codes = groups.cat.categories, groups.cat.codes.to_numpy()
    count = np.bincount(codes, minlength=len(ids)).astype(np.float64)
    mean = None
    if "rating" in interactions:
        total = np.bincount(codes, interactions["rating"].to_numpy(np.float64), len(ids))
        mean = pd.Series(total / np.maximum(count, 1), ids)
    counted = pd.Series(count, ids)
    rows = table.drop_duplicates(key)
    rows = rows[rows[key].isin(ids)]
    found = {}
    for name in table.columns:
        values = (
            pd.to_numeric(rows[name], errors="coerce")
            if name not in (key, "title")
            else pd.Series(dtype=float)
        )
        if not len(values) or values.notna().sum() < 0.5 * len(rows):
            if plain_name(str(name)) in LEAKY:
                found[str(name)] = "its name"
            continue
        plain = plain_name(str(name))
        if plain in LEAKY or plain in NAMES["rating"].split():
            found[str(name)] = "its name"
            continue
        listed = rows[key].to_numpy()
        known = counted.reindex(listed).to_numpy()
        if mean is not None and (
            rho := _follows_mean(values.to_numpy(), mean.reindex(listed).to_numpy(), known)
        ):
            found[str(name)] = f"it follows the average of the ratings (rank correlation {rho:.2f})"
        elif rho := _rank_correlation(values.to_numpy(), known, least=0.8):
            found[str(name)] = f"it follows the number of interactions (rank correlation {rho:.2f})"
    return found


def _follows_mean(values: np.ndarray, mean: np.ndarray, count: np.ndarray) -> float:
    """The rank correlation where it is high enough not to be chance or taste, else 0."""
    for enough, least in ((_WELL_KNOWN, 0.7), (_KNOWN, 0.8)):
        rows = count >= enough
        if rows.sum() >= ENOUGH:
            return _rank_correlation(values[rows], mean[rows], least)
    return 0.0


def _rank_correlation(values: np.ndarray, others: np.ndarray, least: float) -> float:
    rows = np.isfinite(values) & np.isfinite(others)
    if rows.sum() < ENOUGH or len(np.unique(values[rows])) < 5 or len(np.unique(others[rows])) < 5:
        return 0.0
    ranks = [pd.Series(part[rows]).rank().to_numpy() for part in (values, others)]
    rho = float(np.corrcoef(ranks[0], ranks[1])[0, 1])
    return rho if abs(rho) >= least else 0.0
