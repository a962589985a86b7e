import builtins
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p5t5.core.errors import UserError
from p5t5.metrics import text as text_metrics
from p5t5.metrics.intervals import bootstrap_interval
from p5t5.metrics.wrappers import TextMetric

pytest.importorskip("sacrebleu")
pytest.importorskip("rouge_score")


def test_bleu_by_hand():
    # 5 words, 4 right: 1-grams 4/5, 2-grams 3/4, 3-grams 2/3, 4-grams 1/2, equal lengths
    statistics = text_metrics.bleu_statistics(["a b c d x"], ["a b c d e"])
    assert statistics.tolist() == [[4, 3, 2, 1, 5, 4, 3, 2, 5, 5]]
    assert text_metrics.bleu4(statistics[0]) == pytest.approx((4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)


def test_bleu_of_a_short_answer_is_penalised_and_no_match_is_zero():
    short = text_metrics.bleu_statistics(["a b c d"], ["a b c d e f g h"])[0]
    assert text_metrics.bleu4(short) == pytest.approx(math.exp(1 - 8 / 4))
    assert text_metrics.bleu4(text_metrics.bleu_statistics(["x y z w v"], ["a b c d e"])[0]) == 0
    assert text_metrics.bleu4(text_metrics.bleu_statistics([""], ["a b c d e"])[0]) == 0


def test_bleu_is_of_the_corpus_and_agrees_with_sacrebleu():
    from sacrebleu.metrics import BLEU

    predictions = [
        "the strings sound bright and clear",
        "a good case for the price I paid",
        "it broke at once",
    ]
    references = ["these strings sound bright and warm", "a good case for the price", "it broke at once"]
    expected = BLEU(lowercase=True, smooth_method="none").corpus_score(predictions, [references]).score / 100
    statistics = text_metrics.bleu_statistics(predictions, references)
    assert text_metrics.bleu4(statistics.sum(0)) == pytest.approx(expected)
    assert bootstrap_interval(statistics, statistic=text_metrics.bleu4).value == pytest.approx(expected)


def test_shorter_bleus_by_hand():
    statistics = text_metrics.bleu_statistics(["a b x"], ["a b c d e f"])[0]
    penalty = math.exp(1 - 6 / 3)
    assert text_metrics.bleu1(statistics) == pytest.approx(penalty * 2 / 3)
    assert text_metrics.bleu2(statistics) == pytest.approx(penalty * math.sqrt(2 / 3 * 1 / 2))
    assert text_metrics.bleu4(statistics) == 0


said = st.lists(
    st.sampled_from(["a", "B", "it's", "don't", "3.5", "1,000", "&amp;", "x-y", "!", "Ünï", "_b", "—", "\n"]),
    max_size=12,
).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(said, said), min_size=1, max_size=4))
def test_counts_are_those_of_the_packages(pairs):
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics import BLEU

    predictions, references = (list(texts) for texts in zip(*pairs, strict=True))
    statistics = text_metrics.bleu_statistics(predictions, references)
    theirs = BLEU(lowercase=True, smooth_method="none").corpus_score(predictions, [references])
    ours = [*theirs.counts, *theirs.totals, theirs.sys_len, theirs.ref_len]
    assert statistics.sum(0).tolist() == ours
    for order in (1, 2, 4):
        score = BLEU(lowercase=True, smooth_method="none", max_ngram_order=order)
        expected = score.corpus_score(predictions, [references]).score / 100
        assert text_metrics.bleu(statistics.sum(0), order) == pytest.approx(expected)
    scorer = RougeScorer(list(text_metrics.ROUGE_KINDS), use_stemmer=False)
    for value, prediction, reference in zip(
        text_metrics.rouge(predictions, references), predictions, references, strict=True
    ):
        scores = scorer.score(reference, prediction)
        assert value == pytest.approx([scores[kind].fmeasure for kind in text_metrics.ROUGE_KINDS])


def test_rouge_by_hand():
    # "the cat sat" against "the cat ran off": 1-grams 2 of 3 and 2 of 4, 2-grams 1 of 2 and 1 of 3, longest 2
    value = text_metrics.rouge(["the cat sat"], ["the cat ran off"])[0]
    assert value == pytest.approx([4 / 7, 2 / 5, 4 / 7])
    assert text_metrics.rouge([""], ["the cat"]).tolist() == [[0, 0, 0]]


def test_feature_match_is_by_whole_words():
    predictions = ["The Sound quality is great", "a sounding board", "soundly built", "sound", ""]
    assert text_metrics.feature_match(predictions, ["sound"] * 5).tolist() == [1, 0, 0, 1, 0]
    assert text_metrics.feature_match(["bright sound quality"], ["sound quality"]).tolist() == [1]
    assert text_metrics.feature_match(["quality of sound"], ["sound quality"]).tolist() == [0]
    assert text_metrics.feature_match(["anything"], [""]).tolist() == [0]


features = st.lists(st.sampled_from(["sound", "sound quality", "Quality", "amp", "", "low action set"]))
talk = st.lists(st.sampled_from(["sound", "quality", "amp", "Amps", "low", "action", "set"]), max_size=7).map(
    " ".join
)


@settings(max_examples=60, deadline=None)
@given(features, st.lists(talk, max_size=6))
def test_features_are_found_and_shared_as_the_slow_way_says(known, texts):
    finder = text_metrics.FeatureFinder(known)
    names = {number: name for name, number in finder.number.items()}
    found = [finder(text) for text in texts]
    slow = [{f.lower() for f in known if text_metrics.feature_match([text], [f])[0]} for text in texts]
    assert [{names[number] for number in part} for part in found] == slow
    pairs = [len(a & b) for at, a in enumerate(slow) for b in slow[:at]]
    assert text_metrics.feature_overlap(found) == pytest.approx(np.mean(pairs) if pairs else 0)


def test_feature_coverage_by_hand():
    finder = text_metrics.FeatureFinder(["sound", "price", "Price", "case", ""])
    assert len(finder.number) == 3
    found = [finder(text) for text in ("good sound, good price", "the price!", "")]
    assert text_metrics.feature_coverage(found, 3) == pytest.approx(2 / 3)
    assert text_metrics.feature_overlap(found) == pytest.approx(1 / 3)  # one of three pairs shares one
    assert text_metrics.feature_coverage([], 0) == text_metrics.feature_overlap(found[:1]) == 0


def test_length_is_in_words():
    assert text_metrics.lengths(["It's good.", "", "one"]).tolist() == [3, 0, 1]


def test_diversity_by_hand():
    predictions = ["a b a", "a b"]
    assert text_metrics.distinct_n(predictions, 1) == pytest.approx(2 / 5)
    assert text_metrics.distinct_n(predictions, 2) == pytest.approx(2 / 3)
    assert text_metrics.distinct_n(["a"], 2) == 0
    assert text_metrics.unique_sentence_ratio(["A b!", "a b", "c"]) == pytest.approx(2 / 3)
    assert text_metrics.unique_sentence_ratio([]) == 0


def test_a_missing_package_is_named(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith(("sacrebleu", "rouge_score")):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UserError, match=r"sacrebleu.*p5t5\[text\]"):
        text_metrics.bleu_statistics(["a"], ["a"])
    with pytest.raises(UserError, match="rouge-score"):
        text_metrics.rouge(["a"], ["a"])


def test_missing_packages_are_named_early(monkeypatch):
    text_metrics.require_packages()
    monkeypatch.setattr(text_metrics, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"p5t5\[text\]"):
        text_metrics.require_packages()


def test_as_evaluate_metric():
    metric = TextMetric(keep_in_memory=True)
    metric.add_batch(predictions=["a b c d x"], references=["a b c d e"])
    result = metric.compute()
    assert result["bleu4"] == pytest.approx(0.2**0.25)
    assert result["rouge1"] == pytest.approx(0.8)
    assert result["bleu1"] == pytest.approx(0.8) and result["length"] == 5
    assert np.isclose(result["distinct1"], 1.0)
