"""Metrics of generated text. All but the length are fractions (0 to 1), not per cent.

The words are parted by sacrebleu's and rouge_score's own rules, imported only when they are used
(``pip install "p5t5[text]"``); the counting is done here, several times faster, and tested to be theirs.
Fluent sameness scores well on BLEU and ROUGE, so diversity and the features' metrics stand beside them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.util import find_spec

import numpy as np

from p5t5.core.errors import UserError

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


def lengths(predictions: Sequence[str]) -> np.ndarray:
    """float64 [n]: words of each prediction."""
    return np.array([len(words(text)) for text in predictions], np.float64)


def bleu_statistics(predictions: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """float64 [n, 10]: what corpus BLEU needs of each example: 4 match counts, 4 totals, 2 lengths.

    The counts are sacrebleu's with its 13a tokens, lower-cased (Papineni et al. 2002; Post 2018).
    """
    try:
        from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
    except ImportError as error:
        raise _missing("sacrebleu") from error
    split = Tokenizer13a()
    out = np.zeros((len(predictions), BLEU_STATISTICS))
    for row, (prediction, reference) in enumerate(zip(predictions, references, strict=True)):
        said, true = (split(text.lower().rstrip()).split() for text in (prediction, reference))
        for n in range(1, 5):
            out[row, n - 1] = _shared(_grams(said, n), _grams(true, n))
            out[row, n + 3] = max(len(said) - n + 1, 0)
        out[row, 8:] = len(said), len(true)
    return out


def bleu(statistics: np.ndarray, order: int = 4) -> np.ndarray:
    """[...]: BLEU of 1- to ``order``-grams from summed or mean statistics [..., 10].

    0 where an n-gram order has no match. Both the precisions and the brevity penalty are ratios, so sums
    and means give the same value.
    """
    matches, totals = statistics[..., :order], statistics[..., 4 : 4 + order]
    predicted, reference = statistics[..., 8], statistics[..., 9]
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(totals > 0, matches / totals, 0.0)
        brevity = np.exp(np.minimum(0.0, 1.0 - reference / predicted))
        value = brevity * np.exp(np.log(precision).mean(-1))
    return np.where((precision > 0).all(-1) & (predicted > 0), value, 0.0)


def bleu1(statistics: np.ndarray) -> np.ndarray:
    """`bleu` of single words."""
    return bleu(statistics, 1)


def bleu2(statistics: np.ndarray) -> np.ndarray:
    """`bleu` of words and pairs."""
    return bleu(statistics, 2)


def bleu4(statistics: np.ndarray) -> np.ndarray:
    """`bleu` as it is usually meant."""
    return bleu(statistics, 4)


def rouge(predictions: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """float64 [n, 3]: F1 of ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004), without stemming."""
    try:
        from rouge_score.tokenize import tokenize
    except ImportError as error:
        raise _missing("rouge-score") from error
    out = np.zeros((len(predictions), len(ROUGE_KINDS)))
    for row, (prediction, reference) in enumerate(zip(predictions, references, strict=True)):
        said, true = tokenize(prediction, None), tokenize(reference, None)
        for n in (1, 2):
            both = max(len(said) - n + 1, 0) + max(len(true) - n + 1, 0)
            out[row, n - 1] = 2 * _shared(_grams(said, n), _grams(true, n)) / max(both, 1)
        out[row, 2] = 2 * longest_common(said, true) / max(len(said) + len(true), 1)
    return out


def longest_common(a: Sequence[str], b: Sequence[str]) -> int:
    """The length of the longest common subsequence, 64 places and more at a time (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for at, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << at
    everywhere = (1 << len(a)) - 1
    row = everywhere
    for word in b:
        met = row & places.get(word, 0)
        row = ((row + met) | (row - met)) & everywhere
    return len(a) - row.bit_count()


class FeatureFinder:
    """Finds the features of a list in texts: as whole words, in order and together, whatever their case."""

    def __init__(self, features: Iterable[str]) -> None:
        known = {key for key in (" ".join(words(feature)) for feature in features) if key}
        self.number = {key: place for place, key in enumerate(sorted(known))}
        self.longest = max((key.count(" ") + 1 for key in known), default=0)

    def __call__(self, text: str) -> set[int]:
        """The numbers of the features in the text."""
        split = words(text)
        runs = (
            " ".join(split[at : at + size])
            for size in range(1, self.longest + 1)
            for at in range(len(split) - size + 1)
        )
        return {self.number[run] for run in runs if run in self.number}


def feature_match(predictions: Sequence[str], features: Sequence[str]) -> np.ndarray:
    """float64 [n]: 1 where the words of the feature stand, in order and together, in the prediction
    (Li et al. 2020). An empty feature matches nothing and should be left out by the caller.
    """
    out = np.zeros(len(predictions))
    for row, (prediction, feature) in enumerate(zip(predictions, features, strict=True)):
        out[row] = bool(FeatureFinder([feature])(prediction))
    return out


def feature_coverage(found: Sequence[set[int]], features: int) -> float:
    """Different features in the predictions over all ``features`` (FCR, Li et al. 2020); 0 without any."""
    return len(set().union(*found)) / features if features else 0.0


def feature_overlap(found: Sequence[set[int]]) -> float:
    """The mean number of features that two predictions share (DIV, Li et al. 2020): less is more diverse.

    A feature of c predictions is shared by c (c − 1) / 2 of their pairs, so no pair is looked at.
    """
    pairs = len(found) * (len(found) - 1)
    counts = Counter(feature for features in found for feature in features)
    return sum(count * (count - 1) for count in counts.values()) / pairs if pairs else 0.0


def distinct_n(predictions: Sequence[str], n: int) -> float:
    """Different n-grams over all n-grams of all predictions together (Li et al. 2016); 0 without any."""
    grams = [gram for split in map(words, predictions) for gram in _grams(split, n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def unique_sentence_ratio(predictions: Sequence[str]) -> float:
    """Different predictions over predictions (Li et al. 2020); 0 without any."""
    return (
        len({" ".join(words(text)) for text in predictions}) / len(predictions) if len(predictions) else 0.0
    )


def _grams(split: Sequence[str], n: int) -> Sequence:
    """The n-grams in order: tuples, or the words themselves."""
    return split if n == 1 else list(zip(*(split[at:] for at in range(n)), strict=False))


def _shared(a: Sequence, b: Sequence) -> int:
    """How many of ``a`` are in ``b``, each of ``b`` used once."""
    left = Counter(b)
    return sum(min(count, left[gram]) for gram, count in Counter(a).items() if gram in left)


def _missing(package: str) -> UserError:
    return UserError(f'text metrics need the package {package}; install it with: pip install "p5t5[text]"')
