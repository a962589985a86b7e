"""A model's words: prompts in, texts out; and the choice of how they are decoded, made on validation rows.

The choice is kept in the model's ``p5t5.json``, so that `p5t5 query` and `Recommender` decode as it says.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from p5t5.checkpoint import PHRASES
from p5t5.decoding import TextOptions, Wanted, draw_texts, padded_batches
from p5t5.decoding.text_generation import consensus
from p5t5.errors import UserError
from p5t5.metrics import text as text_metrics
from p5t5.mixture import validation_sample
from p5t5.phrases import Phrases, PhraseTable, written
from p5t5.ragged import Ragged
from p5t5.splits import Split
from p5t5.tasks import TASKS, BuildOptions, Examples
from p5t5.tasks.base import DISLIKE, LIKE, NO, WORDS, YES
from p5t5.vocabulary import text_tokens

if TYPE_CHECKING:
    from p5t5.answering import Asker
    from p5t5.checkpoint import Checkpoint

UNSPEAKABLE = re.compile(r"^▁?<(item|user|extra_id)_")
HINT = "feature"  # the slot that says what the text must speak of
KEY = "text_decoding"  # in p5t5.json
GREEDY = TextOptions()
TRIED = 32  # samples a prompt while settings are compared
SAMPLES = 128  # and in answers: more of them are better, and cost time (dev/lab/amazon-musical-instruments.md#more-samples)
# What is tried, in this order: one safe answer, or the consensus of samples that are ever more various.
SETTINGS = (
    GREEDY,
    *(TextOptions(sample=True, samples=TRIED, temperature=degree, seed=0) for degree in (0.4, 0.5, 0.6, 0.7)),
)
BONUSES = (0.0, 2.0)  # where there is a hint
SHARES = (0.0, 0.9)  # of a consensus, what training texts say of the item
ROWS = 400  # validation rows a task, at most
SENTENCE = 8  # words: where people's own texts are shorter on average, four in a row say little
VARIETY = 0.5  # the least ratio of unique sentences, as a share of what people's own texts have


class Writer:
    """Lets a model write; ``forbidden``: token ids that no text holds (identifiers, sentinels)."""

    def __init__(self, tokenizer: Any, token_budget: int = 8192) -> None:
        self.tokenizer, self.token_budget = tokenizer, token_budget

    @cached_property
    def forbidden(self) -> list[int]:
        return [n for piece, n in self.tokenizer.get_vocab().items() if UNSPEAKABLE.match(piece)]

    @cached_property
    def word_starts(self) -> np.ndarray:
        """bool [vocabulary]: the tokens that do not go on with a word: ``▁word``, punctuation, ``</s>``."""
        pieces = self.tokenizer.convert_ids_to_tokens(list(range(len(self.tokenizer))))
        inside = [piece[:1].isalnum() or piece.startswith(("_", "<0x")) for piece in pieces]
        return ~np.array(inside, bool)

    def write(
        self,
        model: Any,
        inputs: Ragged,
        options: TextOptions = GREEDY,
        hints: Sequence[str] | None = None,
        never_first: Sequence[int] = (),
        phrases: Phrases | None = None,
        items: np.ndarray | None = None,
    ) -> list[str]:
        """The answer to each rendered prompt; it holds the hint, where there is one ("": none), and begins
        with none of ``never_first`` (`answers_of_others`).

        ``phrases``, and ``items``: int [prompts], which item each is about, −1 for none: for ``options.item_share``.
        """
        texts = [""] * len(inputs)
        for rows, drawn in self.draw(model, inputs, options, hints, never_first):
            asked = None if items is None else items[rows]
            found = self.settle(drawn, options.item_share, phrases, asked)
            for row, text in zip(rows.tolist(), found, strict=True):
                texts[row] = text
        return texts

    def draw(
        self,
        model: Any,
        inputs: Ragged,
        options: TextOptions,
        hints: Sequence[str] | None = None,
        never_first: Sequence[int] = (),
    ) -> Iterator[tuple[np.ndarray, list[list[list[int]]]]]:
        """(prompts' numbers, all the answers to each, as tokens), batch by batch; see `write`."""
        tokens = None if hints is None else text_tokens(self.tokenizer, hints)
        device = next(model.parameters()).device
        drawing = {name: value for name, value in asdict(options).items() if name != "item_share"}
        for rows, ids, mask in padded_batches(inputs, self.token_budget // options.samples, device):
            wanted = None
            if tokens is not None:
                wanted = Wanted([own[own >= 0].tolist() for own in tokens[rows]], self.word_starts)
            yield (
                rows,
                draw_texts(
                    model, ids, mask, forbid=self.forbidden, wanted=wanted, never_first=never_first, **drawing
                ),
            )

    def settle(
        self,
        drawn: Sequence[Sequence[Sequence[int]]],
        share: float = 0.0,
        phrases: Phrases | None = None,
        items: np.ndarray | None = None,
    ) -> list[str]:
        """The text of the answer to each prompt that the others of it and, for ``share``, ``phrases`` agree with."""
        chosen = []
        for row, answers in enumerate(drawn):
            told = None
            if share and phrases is not None and len(answers) > 1:
                told = phrases.agreement(-1 if items is None else int(items[row]), answers)
            chosen.append(answers[consensus(answers, told, share)])
        return [text.strip() for text in self.tokenizer.batch_decode(chosen, skip_special_tokens=True)]


def hints_of(examples: Examples) -> list[str] | None:
    """What each text must speak of; None where the task gives no hint."""
    if HINT not in TASKS[examples.task].slots or HINT not in examples.columns:
        return None
    elements = examples.columns[HINT].elements
    return [" ".join(examples.texts[place] for place in elements[row]) for row in range(len(examples))]


def answers_of_others(task: str, tokenizer: Any, ratings: Sequence[float] | np.ndarray) -> list[int]:
    """Tokens that no text of the task begins with: each is the whole answer of another task (a rating, yes).

    A model that does not know a wording may take it for another task's; items and ratings are picked among
    items and ratings, and so a text is among texts. Empty where a rating belongs before the text.
    """
    if TASKS[task].decoding != "text":
        return []
    words = [*(WORDS[word] for word in (YES, NO, LIKE, DISLIKE)), *(f"{value:g}" for value in ratings)]
    ids = text_tokens(tokenizer, words)
    return [int(first) for first, *rest in ids.tolist() if all(token < 0 for token in rest)]


def described(options: TextOptions) -> str:
    """How text is decoded, for people: "consensus of 32, temperature 0.6"."""
    parts = ["greedy"] if not options.sample else ["sampled"]
    if options.samples > 1:
        parts = [f"consensus of {options.samples}"]
    if options.num_beams > 1:
        parts.append(f"{options.num_beams} beams")
    if options.sample:
        parts.append(f"temperature {options.temperature:g}")
        parts += [f"top_p {options.top_p:g}"] if options.top_p < 1 else []
    parts += [f"hint +{options.wanted_bonus:g}"] if options.wanted_bonus else []
    parts += [f"what is said of the item {options.item_share:g}"] if options.item_share else []
    return ", ".join(parts)


def choose_text_options(
    asker: Asker,
    split: Split,
    tasks: Sequence[str],
    build: BuildOptions,
    *,
    limit: int = ROWS,
    progress: Callable[[str], object] | None = None,
) -> dict[str, dict[str, Any]]:
    """Task → {"options": what differs from greedy, "validation": what was measured of each setting}.

    On at most ``limit`` validation rows a task, in seen wordings: of the settings whose answers are at least VARIETY
    times as often unique as people's own texts of these rows, the one with the highest geometric mean of ROUGE-1 and
    BLEU-2, or the highest ROUGE-1 where people write fewer than SENTENCE words; where no answers are various enough,
    the one with the most unique ones. Tasks without such rows are left out.
    """
    chosen = {}
    for task in tasks:
        sample = None
        if "text" in TASKS[task].decoding:
            sample = validation_sample(split, task, asker.prompts, build, limit)
        if sample is None:
            continue
        examples, index = sample
        inputs = asker.renderer.encode_inputs(examples, index)
        references = list(examples.references or ())
        least = VARIETY * text_metrics.unique_sentence_ratio(references)
        hinted = hints_of(examples) is not None
        # A few hundred rows share a few dozen runs of four words: too few to choose by.
        metrics = ("rouge1", "bleu2") if text_metrics.lengths(references).mean() >= SENTENCE else ("rouge1",)
        tried, drawn = [], {}
        for options in settings(hinted, written(task) in asker.phrases):
            if progress:
                progress(f"{task}: {described(options)}")
            drawing = replace(options, item_share=0.0)
            if drawing not in drawn:
                drawn[drawing] = asker.draw(examples, inputs, drawing)
            texts = asker.settle(examples, drawn[drawing], options)
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
                "tried": {described(options): measured for options, measured in tried},
            },
        }
    return chosen


def settings(hinted: bool, told: bool = False) -> list[TextOptions]:
    """What `choose_text_options` tries. ``told``: of texts that training rows write of items."""
    return [
        replace(one, wanted_bonus=bonus, item_share=share)
        for one in SETTINGS
        for bonus in (BONUSES if hinted else (0.0,))
        for share in (SHARES if told and one.samples > 1 else (0.0,))
    ]


def preference(
    measured: Mapping[str, float], least: float, metrics: Sequence[str] = ("rouge1",)
) -> tuple[bool, float]:
    """The larger, the better: various enough first; then by the product of ``metrics``, or by variety where it is not
    enough."""
    enough = measured["unique_sentences"] >= least
    return enough, math.prod(measured[name] for name in metrics) if enough else measured["unique_sentences"]


def saved_options(checkpoint: Checkpoint) -> dict[str, TextOptions]:
    """Task → what was chosen for this model; empty where nothing was, or it has been trained since."""
    kept = checkpoint.info.get(KEY) or {}
    if kept.get("stages") != len(checkpoint.info["stages"]):
        return {}
    return {task: TextOptions(**one["options"]) for task, one in kept["tasks"].items()}


def saved_phrases(checkpoint: Checkpoint) -> dict[str, Phrases]:
    """Slot → what training texts say of items, where a task's decoding was chosen to look at it.

    UserError where the phrases are not those that it was chosen with.
    """
    kept = checkpoint.info.get(KEY) or {}
    if "phrases" not in kept or not saved_options(checkpoint):
        return {}
    if _digest(checkpoint.phrases) != kept["phrases"]["digest"]:
        raise UserError(
            "the model's phrases.parquet is missing, or another model's: copy the whole folder again, or train it again."
        )
    table = PhraseTable(checkpoint.phrases, kept["phrases"]["lengths"])
    return {slot: table.read(slot, checkpoint.catalogue.item_ids) for slot in table.lengths}


def keep_options(
    checkpoint: Checkpoint, chosen: Mapping[str, Any], phrases: Mapping[str, Phrases] | None = None
) -> None:
    """Puts the choice beside what the model says of itself; `write_options` also puts it into its folder.

    ``phrases``: by slot; those that a chosen decoding looks at are kept.
    """
    known = (checkpoint.info.get(KEY) or {}).get("tasks", {}) if saved_options(checkpoint) else {}
    tasks = {**known, **chosen}
    used = {written(task) for task, one in tasks.items() if one["options"].get("item_share")}
    both = {**saved_phrases(checkpoint), **(phrases or {})}
    checkpoint.info[KEY] = {"stages": len(checkpoint.info["stages"]), "tasks": tasks}
    checkpoint.phrases = b""
    if used:
        table = PhraseTable.of({slot: both[slot] for slot in sorted(used)}, checkpoint.catalogue.item_ids)
        checkpoint.phrases = table.data
        checkpoint.info[KEY]["phrases"] = {"digest": _digest(table.data), "lengths": table.lengths}


def write_options(checkpoint: Checkpoint, folder: Path) -> None:
    """Writes what `keep_options` kept into the checkpoint's folder: phrases.parquet, then p5t5.json. Raises OSError."""
    path = folder / "p5t5.json"
    info = json.loads(path.read_text(encoding="utf-8"))
    if checkpoint.phrases:
        _write(folder / PHRASES, checkpoint.phrases, path)
    _write(path, (json.dumps({**info, KEY: checkpoint.info[KEY]}, indent=1) + "\n").encode("utf-8"), path)


def _write(path: Path, content: bytes, like: Path) -> None:
    """Replaces the file at once, with the rights of ``like``: another process may do the same."""
    number, name = tempfile.mkstemp(".tmp", path.name, path.parent)
    try:
        with open(number, "wb") as file:
            file.write(content)
        shutil.copymode(like, name)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=8).hexdigest()
