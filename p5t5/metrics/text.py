"""Metrics of generated text. All are fractions (0 to 1), not per cent.

sacrebleu and rouge_score are imported only when they are used (``pip install "p5t5[text]"``).
Fluent sameness scores well on BLEU and ROUGE, so diversity and feature match stand beside them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

from p5t5.errors import UserError

BLEU_STATISTICS = 10  # matches and totals of 1- to 4-grams, length of the prediction, of the reference
ROUGE_KINDS = ("rouge1", "rouge2", "rougeL")
_WORD = re.compile(r"\w+")


def require_packages() -> None:
    """UserError where sacrebleu or rouge_score is missing: better at the start than after an hour."""
    for module, package in (("sacrebleu", "sacrebleu"), ("rouge_score", "rouge-score")):
        if find_spec(module) is None:
            raise _missing(package)


def words(text: str) -> list[str]:
    """Lower-cased runs of letters and digits."""
    return _WORD.findall(text.lower())


def bleu_statistics(predictions: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """float64 [n, 10]: what corpus BLEU-4 needs of each example: 4 match counts, 4 totals, 2 lengths.

    sacrebleu's counts with its 13a tokens, lower-cased (Papineni et al. 2002; Post 2018).
    """
    try:
        from sacrebleu.metrics import BLEU
    except ImportError as error:
        raise _missing("sacrebleu") from error
    metric = BLEU(lowercase=True, smooth_method="none", effective_order=False)
    out = np.zeros((len(predictions), BLEU_STATISTICS))
    for row, (prediction, reference) in enumerate(zip(predictions, references, strict=True)):
        score = metric.corpus_score([prediction], [[reference]])
        out[row] = [*score.counts, *score.totals, score.sys_len, score.ref_len]
    return out


def bleu4(statistics: np.ndarray) -> np.ndarray:
    """[...]: BLEU-4 from summed or mean statistics [..., 10]; 0 where an n-gram order has no match.

    Both the precisions and the brevity penalty are ratios, so sums and means give the same value.
    """
    matches, totals = statistics[..., :4], statistics[..., 4:8]
    predicted, reference = statistics[..., 8], statistics[..., 9]
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(totals > 0, matches / totals, 0.0)
        brevity = np.exp(np.minimum(0.0, 1.0 - reference / predicted))
        value = brevity * np.exp(np.log(precision).mean(-1))
    return np.where((precision > 0).all(-1) & (predicted > 0), value, 0.0)


def rouge(predictions: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """float64 [n, 3]: F1 of ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004), without stemming."""
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise _missing("rouge-score") from error
    scorer = RougeScorer(list(ROUGE_KINDS), use_stemmer=False)
    out = np.zeros((len(predictions), len(ROUGE_KINDS)))
    for row, (prediction, reference) in enumerate(zip(predictions, references, strict=True)):
        scores = scorer.score(reference, prediction)
        out[row] = [scores[kind].fmeasure for kind in ROUGE_KINDS]
    return out


def feature_match(predictions: Sequence[str], features: Sequence[str]) -> np.ndarray:
    """float64 [n]: 1 where the words of the feature stand, in order and together, in the prediction
    (Li et al. 2020). An empty feature matches nothing and should be left out by the caller.
    """
    out = np.zeros(len(predictions))
    for row, (prediction, feature) in enumerate(zip(predictions, features, strict=True)):
        sought = words(feature)
        out[row] = bool(sought) and f" {' '.join(sought)} " in f" {' '.join(words(prediction))} "
    return out


def distinct_n(predictions: Sequence[str], n: int) -> float:
    """Different n-grams over all n-grams of all predictions together (Li et al. 2016); 0 without any."""
    grams = [
        tuple(split[at : at + n]) for split in map(words, predictions) for at in range(len(split) - n + 1)
    ]
    return len(set(grams)) / len(grams) if grams else 0.0


def unique_sentence_ratio(predictions: Sequence[str]) -> float:
    """Different predictions over predictions (Li et al. 2020); 0 without any."""
    return (
        len({" ".join(words(text)) for text in predictions}) / len(predictions) if len(predictions) else 0.0
    )


def _missing(package: str) -> UserError:
    return UserError(f'text metrics need the package {package}; install it with: pip install "p5t5[text]"')
