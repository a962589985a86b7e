"""Measures a fusion of the model with baselines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from p5t5.core.ragged import Ragged
from p5t5.data.splits import Split
from p5t5.decoding.trie import Trie
from p5t5.evaluation.list_quality import LISTED, ListQuality
from p5t5.evaluation.results import Measured
from p5t5.fusion.blend import Fusion, rows_at_once
from p5t5.fusion.fitting import FUSED_TASK
from p5t5.fusion.model_scores import model_table
from p5t5.metrics.ranking import ranking_values, table_ranks
from p5t5.tasks.registry import TASKS


def measure_fusion(
    fusion: Fusion,
    model: Any,
    inputs: Ragged,
    trie: Trie,
    split: Split,
    rows: np.ndarray,
    prompt: str,
    protocols: Sequence[str],
    name: str = "p5t5+fusion",
    token_budget: int = 8192,
) -> Iterator[Measured]:
    """The fused rankings of the catalogue for the prompts ``inputs`` of ``rows`` int [n], measured per protocol."""
    started = perf_counter()
    data = split.data
    ranks = {protocol: np.empty(len(rows), np.int64) for protocol in protocols}
    quality, lists = ListQuality(split), np.full((len(rows), LISTED), -1, np.int64)
    step = rows_at_once(data.number_of_items)
    for start in range(0, len(rows), step):
        positions = np.arange(start, min(start + step, len(rows)))
        chunk = rows[positions]
        histories = split.history_items(chunk)
        table = model_table(model, inputs.take(positions), trie, data.number_of_items, token_budget)
        scores = fusion.scores(table, histories, data.user[chunk])
        for protocol in protocols:
            exclude = histories if protocol == "filtered" else None
            ranks[protocol][positions] = table_ranks(scores, data.item[chunk], exclude)
        lists[positions] = quality.lists(scores, histories)
    seconds = (perf_counter() - started) / max(len(protocols), 1)
    for protocol in protocols:
        values = ranking_values(ranks[protocol], TASKS[FUSED_TASK].metrics)
        totals = quality.totals(lists) if protocol == "filtered" else {}
        yield Measured(name, FUSED_TASK, prompt, protocol, rows, data.user[rows], values, totals, seconds)
