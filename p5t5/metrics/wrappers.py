"""The same metrics as ``evaluate.Metric``: add_batch, compute and combine work, and no Hub is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np

from p5t5.metrics import ranking, rating, text


class _Metric(evaluate.Metric):
    purpose = ""
    columns: Any = None

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.purpose,
            citation="",
            inputs_description=self.purpose,
            features=datasets.Features(self.columns),
        )


class RankingMetric(_Metric):
    """HR@k and NDCG@k of ranked item ids (``predictions``: a list of strings each) against one true id."""

    purpose = "HR@k and NDCG@k of ranked item ids against one true item id"
    columns = {
        "predictions": datasets.Sequence(datasets.Value("string")),
        "references": datasets.Value("string"),
    }

    def _compute(self, predictions, references, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
        ranks = np.array(
            [
                ranked.index(truth) if truth in ranked else -1
                for ranked, truth in zip(predictions, references, strict=True)
            ],
            np.int64,
        )
        hits = {f"hr@{k}": float(ranking.hit(ranks, k).mean()) for k in ks}
        return hits | {f"ndcg@{k}": float(ranking.ndcg(ranks, k).mean()) for k in ks}


class RatingMetric(_Metric):
    """RMSE and MAE of numbers."""

    purpose = "RMSE and MAE of predicted ratings"
    columns = {"predictions": datasets.Value("float64"), "references": datasets.Value("float64")}

    def _compute(self, predictions, references) -> dict[str, float]:
        return {"rmse": rating.rmse(predictions, references), "mae": rating.mae(predictions, references)}


class TextMetric(_Metric):
    """BLEU, ROUGE, length and diversity of generated text against one reference each."""

    purpose = "BLEU-1/2/4, ROUGE-1/2/L, length in words and diversity of generated text"
    columns = {"predictions": datasets.Value("string"), "references": datasets.Value("string")}

    def _compute(self, predictions, references) -> dict[str, float]:
        rouge = text.rouge(predictions, references).mean(0)
        statistics = text.bleu_statistics(predictions, references).sum(0)
        return {
            **{f"bleu{order}": float(text.bleu(statistics, order)) for order in (1, 2, 4)},
            **{kind: float(value) for kind, value in zip(text.ROUGE_KINDS, rouge, strict=True)},
            "length": float(text.lengths(predictions).mean()),
            "distinct1": text.distinct_n(predictions, 1),
            "distinct2": text.distinct_n(predictions, 2),
            "unique_sentences": text.unique_sentence_ratio(predictions),
        }
