"""Explanations for data that have none: sentences from the reviews, else from what items share.

``sentences``, ``language`` and ``features`` read reviews, ``reviews`` chooses a sentence from each, ``attributes``
writes one where nobody wrote a review.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from p5t5.core.errors import UserError
from p5t5.data.explanations.english import INSTALL, English, is_installed
from p5t5.data.explanations.features import MOST_REVIEWS, fit_words
from p5t5.data.explanations.reviews import explain
from p5t5.data.explanations.shared_attributes import attribute_sentences, shared_values
from p5t5.data.records.parquet import arrow_column
from p5t5.data.records.tables import PIECE, IndexedRecords, Records
from p5t5.data.splits import RANDOM, SCHEMES, split_by

CALLED = {"loo": "leave-one-out"}


def explained(
    records: Records, reviews: bool = True, attributes: bool = True, scheme: str = "loo"
) -> Records:
    """The records with the columns feature and explanation, where they have none and something tells why.

    ``reviews``, ``attributes``: what may be used; reviews first. ``scheme``: the split whose training rows are
    learnt from, and under which the explanations are clean (`check_split`). ``info["explanation_source"]`` says what was:
    "columns" (they were there), "reviews" or "attributes"; ``info["explanations"]`` holds the details, the feature
    words among them, and ``info["steps"]`` a sentence on it.
    """
    table = records.interactions
    if "explanation" in table:
        return replace(records, info={**records.info, "explanation_source": "columns"})
    if reviews and "review" in table:
        if not is_installed():
            return _told(records, f"explanations left out: reading the reviews needs TextBlob; {INSTALL}")
        if (found := _from_reviews(records, scheme)) is not None:
            return found
        records = _told(
            records, "no explanations from the reviews: no feature is spoken of often enough (in English)"
        )
    if attributes and (written := _from_attributes(records, scheme)) is not None:
        return written
    return records


def check_split(folder: str | Path, scheme: str) -> None:
    """UserError where a data folder's explanations were made with rows that ``scheme`` does not train on."""
    path = Path(folder) / "prepare.json"
    info = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    source = info.get("explanation_source")
    made_for = (info.get("explanations") or {}).get("split", "loo")
    if scheme not in SCHEMES or source not in ("reviews", "attributes") or made_for == scheme:
        return
    if (
        source == "reviews" or scheme == RANDOM
    ):  # what items share was looked up among earlier rows: in time order, clean
        raise UserError(
            f"--split {scheme}: the explanations in {folder} were made for the split {made_for}, from rows that are "
            f"held out in this one: make the folder again with `p5t5 prepare … --split {scheme}`."
        )


def training_reviews(records: Records, data: IndexedRecords, scheme: str = "loo") -> list[str]:
    """The reviews of a split's training rows; of more than MOST_REVIEWS, so many at even distances."""
    rows = split_by(scheme, data).rows("train")
    texts = records.interactions["review"]
    rows = rows[(texts != "").to_numpy()[rows]]
    if len(rows) > MOST_REVIEWS:
        rows = rows[np.linspace(0, len(rows) - 1, MOST_REVIEWS).astype(np.int64)]
    return texts.iloc[rows].tolist()


def _from_reviews(records: Records, scheme: str) -> Records | None:
    english, data = English(), _in_order(records)
    train = training_reviews(records, data, scheme)
    called = CALLED.get(scheme, f"the {scheme} split")
    words = fit_words(train, english)
    pieces: dict[str, list[pa.Array]] = {"feature": [], "explanation": []}
    reviews, signs = records.interactions["review"], _signs(data)
    reviewed = number = 0
    for start in range(0, len(data), PIECE):
        texts = reviews.iloc[start : start + PIECE].tolist()
        best = [explain(text, words, sign) for text, sign in zip(texts, signs[start:].tolist(), strict=False)]
        reviewed += sum(text != "" for text in texts)
        number += sum(each is not None for each in best)
        pieces["feature"].append(pa.array([each.feature if each else "" for each in best], pa.large_string()))
        pieces["explanation"].append(
            pa.array([each.sentence if each else "" for each in best], pa.large_string())
        )
    if not number:
        return None
    about = {
        "rows": number,
        "reviews": reviewed,
        "library": english.name,
        "fitted_on": f"{len(train)} training reviews of {called}",
        "split": scheme,
        "features": words.features,
        "opinions_learnt": [word for word, polarity in words.opinions.items() if not polarity],
    }
    told = (
        f"explanations from reviews: a sentence of {number:,} of {reviewed:,} reviews ({english.name}; "
        f"{len(words.features):,} feature words, learnt from the training reviews of {called})"
    )
    filled = {name: pa.concat_arrays(arrays) for name, arrays in pieces.items()}
    return _filled(records, filled, "reviews", about, told)


def _from_attributes(records: Records, scheme: str) -> Records | None:
    if not shared_values(records.items)[0]:
        return None  # before anything is indexed: most tables have no attributes
    data = _in_order(records)
    split = split_by(scheme, data)
    found = attribute_sentences(data, None if split.in_time_order else split.part == 0)
    if found is None:
        return None
    number = int((found.sentence > 0).sum())
    told = (
        f"explanations from attributes, not from people: {number:,} of {len(data):,} interactions share one with the "
        f"user's earlier items ({len(found.features) - 1} attributes, {len(found.sentences) - 1:,} different sentences)"
    )
    columns = {
        "feature": pa.array(found.features, pa.large_string()).take(pa.array(found.feature)),
        "explanation": pa.array(found.sentences, pa.large_string()).take(pa.array(found.sentence)),
    }
    about = {
        "rows": number,
        "features": len(found.features) - 1,
        "sentences": len(found.sentences) - 1,
        "split": scheme,
    }
    return _filled(records, columns, "attributes", about, told)


def _filled(
    records: Records, columns: dict[str, pa.Array], source: str, about: dict[str, Any], told: str
) -> Records:
    table = records.interactions.copy(deep=False)
    for name, texts in columns.items():
        table[name] = arrow_column(texts).set_axis(table.index)
    info = {**records.info, "explanation_source": source, "explanations": about}
    return _told(replace(records, interactions=table, info=info), told)


def _told(records: Records, sentence: str) -> Records:
    return replace(records, info={**records.info, "steps": [*records.info.get("steps", []), sentence]})


def _in_order(records: Records) -> IndexedRecords:
    """Indexed, with the rows where they stand in the table, as ``make_records`` sorts them."""
    data = records.index()
    ids = pd.Categorical(records.interactions["user_id"])
    if not np.array_equal(pd.Index(data.user_ids).get_indexer(ids.categories)[ids.codes], data.user):
        raise ValueError("the interactions are not sorted by user and time: make them with make_records")
    return data


def _signs(data: IndexedRecords) -> np.ndarray:
    """int8 [n]: whether each rating is above (1) or below (−1) the middle of the scale; 0 without ratings."""
    if data.rating is None:
        return np.zeros(len(data), np.int8)
    middle = (data.rating_values[0] + data.rating_values[-1]) / 2
    return np.sign(np.nan_to_num(data.rating - middle)).astype(np.int8)
