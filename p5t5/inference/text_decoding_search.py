"""Chooses on validation rows how a task's text is decoded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from p5t5.checkpoint.fitted import FittedArtifact
from p5t5.data.splits import Split
from p5t5.decoding.text_generation import TextOptions
from p5t5.inference.item_phrases import ItemNgrams, ItemNgramTable
from p5t5.inference.text_writer import (
    ARTIFACT,
    GREEDY,
    NGRAMS_FILE,
    describe_decoding,
    required_words,
    saved_item_ngrams,
)
from p5t5.metrics import text as text_metrics
from p5t5.tasks.base import BuildOptions
from p5t5.tasks.registry import TASKS
from p5t5.text.mixture import validation_sample

if TYPE_CHECKING:
    from p5t5.checkpoint.checkpoint import Checkpoint
    from p5t5.inference.predictor import Predictor

SEARCH_SAMPLES = 32  # samples per prompt while settings are compared

SAMPLES = 128  # samples per prompt once chosen: more are better and slower (dev/lab/amazon-musical-instruments.md#more-samples)

# The candidates, in this order: greedy decoding, or MBR over samples of increasing diversity.
SETTINGS = (
    GREEDY,
    *(
        TextOptions(sample=True, samples=SEARCH_SAMPLES, temperature=degree, seed=0)
        for degree in (0.4, 0.5, 0.6, 0.7)
    ),
)

BONUSES = (0.0, 2.0)  # logit bonuses of the required words, where there is a hint

ITEM_WEIGHTS = (0.0, 0.9)  # MBR weights of the similarity to the item's n-grams

MAX_VALIDATION_ROWS = 400  # per task

SHORT_TEXT_WORDS = 8  # where reference texts are shorter on average, four-gram overlap is uninformative

MIN_UNIQUE_SHARE = 0.5  # minimum ratio of unique sentences, relative to that of the reference texts


def choose_text_options(
    predictor: Predictor,
    split: Split,
    tasks: Sequence[str],
    build: BuildOptions,
    *,
    limit: int = MAX_VALIDATION_ROWS,
    progress: Callable[[str], object] | None = None,
) -> dict[str, dict[str, Any]]:
    """Task → {"options": the options that differ from greedy, "validation": what was measured for each setting}.

    Measured on at most ``limit`` validation rows per task, with seen prompts. Among the settings whose ratio of unique
    sentences is at least MIN_UNIQUE_SHARE of that of the reference texts, the one with the highest geometric mean of
    ROUGE-1 and BLEU-2 is chosen, or the highest ROUGE-1 where the references have fewer than SHORT_TEXT_WORDS words; if
    no setting is diverse enough, the one with the most unique sentences. Tasks without such rows are left out.
    """
    chosen = {}
    for task in tasks:
        sample = None
        if TASKS[task].writes:
            sample = validation_sample(split, task, predictor.prompts, build, limit)
        if sample is None:
            continue
        examples, index = sample
        inputs = predictor.encode(examples, index)
        items = split.data.item[examples.rows]
        references = list(examples.references or ())
        least = MIN_UNIQUE_SHARE * text_metrics.unique_sentence_ratio(references)
        hinted = required_words(examples) is not None
        # Four-gram statistics of a few hundred short texts are too sparse to choose by.
        metrics = (
            ("rouge1", "bleu2")
            if text_metrics.lengths(references).mean() >= SHORT_TEXT_WORDS
            else ("rouge1",)
        )
        tried, samples_of = [], {}
        for options in settings(hinted, TASKS[task].target_slot in predictor.item_ngrams):
            if progress:
                progress(f"{task}: {describe_decoding(options)}")
            sampling = replace(options, item_weight=0.0)
            if sampling not in samples_of:
                samples_of[sampling] = predictor.generate(examples, inputs, sampling)
            texts = predictor.select(examples, samples_of[sampling], options, items)
            statistics = text_metrics.bleu_statistics(texts, references).mean(0)
            measured = {
                "rouge1": round(float(text_metrics.rouge(texts, references)[:, 0].mean()), 6),
                "bleu2": round(float(text_metrics.bleu2(statistics)), 6),
                "bleu4": round(float(text_metrics.bleu4(statistics)), 6),
                "unique_sentences": round(text_metrics.unique_sentence_ratio(texts), 6),
            }
            tried.append((options, measured))
        best, _ = max(tried, key=lambda pair: preference(pair[1], least, metrics))
        if best.samples > 1:
            best = replace(best, samples=SAMPLES)
        chosen[task] = {
            "options": {k: v for k, v in asdict(best).items() if v != getattr(GREEDY, k)},
            "validation": {
                "rows": len(examples),
                "least_unique": round(least, 6),
                "highest": list(metrics),
                "tried": {describe_decoding(options): measured for options, measured in tried},
            },
        }
    return chosen


def settings(hinted: bool, has_ngrams: bool = False) -> list[TextOptions]:
    """The settings that `choose_text_options` compares. ``has_ngrams``: n-gram counts of items are available."""
    return [
        replace(setting, wanted_bonus=bonus, item_weight=item_weight)
        for setting in SETTINGS
        for bonus in (BONUSES if hinted else (0.0,))
        for item_weight in (ITEM_WEIGHTS if has_ngrams and setting.samples > 1 else (0.0,))
    ]


def preference(
    measured: Mapping[str, float], least: float, metrics: Sequence[str] = ("rouge1",)
) -> tuple[bool, float]:
    """Sort key, higher is better: diverse enough first; then the product of ``metrics``, or the ratio of unique sentences
    where it is too low."""
    enough = measured["unique_sentences"] >= least
    return enough, math.prod(measured[name] for name in metrics) if enough else measured["unique_sentences"]


def store_text_options(
    checkpoint: Checkpoint, chosen: Mapping[str, Any], ngrams: Mapping[str, ItemNgrams] | None = None
) -> None:
    """Adds the choice to the checkpoint's fitted artifacts; `Checkpoint.save_fitted` writes it into the folder.

    ``ngrams``: by slot; those that a chosen decoding uses are saved.
    """
    before = checkpoint.fitted.get(ARTIFACT)
    tasks = {**({} if before is None else before.settings["tasks"]), **chosen}
    used = {TASKS[task].target_slot for task, choice in tasks.items() if choice["options"].get("item_weight")}
    settings, files = {"tasks": tasks}, {}
    if used:
        available = {**saved_item_ngrams(checkpoint), **(ngrams or {})}
        table = ItemNgramTable.of(
            {slot: available[slot] for slot in sorted(used)}, checkpoint.catalogue.item_ids
        )
        settings["lengths"] = table.lengths
        files[NGRAMS_FILE] = table.data
    checkpoint.fitted[ARTIFACT] = FittedArtifact(settings, files)
