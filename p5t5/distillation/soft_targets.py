"""Soft targets: what simple models of the training rows find likely, beside the true answers.

A small model memorizes a few thousand answers. A teacher that never saw the row (its counts and weights come
from other users' or other folds' rows) says what else would have been likely: distillation (Hinton et al.,
2015) from statistics instead of a larger model. ``alphas`` say how much of an answer's weight goes to the
teacher. Only answers of one token have soft targets: next items where each has a token of its own, and
ratings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from p5t5.core.encoded import SoftTargets
from p5t5.core.errors import UserError
from p5t5.data.splits import Split
from p5t5.distillation.next_item_teacher import next_item_soft_targets
from p5t5.distillation.rating_teacher import rating_soft_targets
from p5t5.tasks.base import WORDS, Teacher
from p5t5.tasks.registry import TASKS, distilled
from p5t5.text.rendering import DistilledRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from p5t5.checkpoint.checkpoint import Checkpoint


def check_alphas(alphas: Mapping[str, float]) -> None:
    """Raises UserError for a task without soft targets, or an alpha that is not at least 0 (off) and below 1."""
    for task, alpha in alphas.items():
        if task not in distilled():
            raise UserError(
                f"--soft_targets: no soft targets exist for {task!r}; choose among {', '.join(distilled())}."
            )
        if not 0 <= alpha < 1:
            raise UserError(f"--soft_targets: {task} has {alpha}; alpha must be at least 0 and below 1.")


def make_soft_targets(
    checkpoint: Checkpoint,
    split: Split,
    alphas: Mapping[str, float],
    seed: int = 0,
    progress: bool = False,
) -> tuple[DistilledRow | None, list[str]]:
    """The soft targets of the tasks of ``alphas``, and a sentence for each task that cannot have any.

    ``alphas``: task → share of the answer's weight, see `check_alphas`. Raises UserError as it does.
    """
    check_alphas(alphas)
    distilled_tasks = [task for task in distilled() if alphas.get(task, 0) > 0]
    parts, off = _Parts(len(split.data)), []
    if items := [task for task in distilled_tasks if TASKS[task].teacher is Teacher.NEXT_ITEM]:
        tokens = checkpoint.catalogue.tokens
        if tokens.shape[1] > 1:
            off.append(
                f"soft targets on {' and '.join(items)} are off: an item's identifier has several tokens"
            )
        else:
            rows, names, shares = next_item_soft_targets(split, seed, progress)
            if not len(rows):
                off.append(
                    f"soft targets on {' and '.join(items)} are off: too few users to teach one by the others"
                )
            for alpha in sorted({alphas[task] for task in items}):
                tasks_of_alpha = [task for task in items if alphas[task] == alpha]
                parts.add(tasks_of_alpha, rows, tokens[names, 0], shares * np.float32(alpha))
    words = int(checkpoint.info.options.max_words)
    targets_of: dict[
        tuple[str, ...], tuple[np.ndarray, np.ndarray]
    ] = {}  # by the texts that the teacher reads
    values = split.data.rating_values
    for task in distilled_tasks:
        if task in items or TASKS[task].missing(split.data):  # the task is reported as off elsewhere
            continue
        reads = TASKS[task].review_columns
        if reads not in targets_of:
            targets_of[reads] = rating_soft_targets(split, task, words=words, seed=seed, progress=progress)
        rows, shares = targets_of[reads]
        if not len(rows):
            off.append(
                f"soft targets on {task} are off: there are too few different ratings to fit a teacher"
            )
            continue
        spelled = [f"{value:g}" for value in values]
        positive = TASKS[task].positive_ratings(values)
        if positive is not None:
            liked = shares[:, positive].sum(1)
            shares, spelled = np.stack([liked, 1 - liked], 1), [WORDS[word] for word in TASKS[task].choices]
        words_tokens = _tokens_of(checkpoint.tokenizer, spelled)
        if words_tokens is None:
            off.append(f"soft targets on {task} are off: an answer has several tokens")
            continue
        parts.add([task], rows, np.tile(words_tokens, (len(rows), 1)), shares * np.float32(alphas[task]))
    return parts.distilled(), off


class _Parts:
    """Collects soft targets task by task; ``interactions``: the number of interactions in the data."""

    def __init__(self, interactions: int) -> None:
        self.interactions, self.count = interactions, 0
        self.numbers: dict[str, np.ndarray] = {}
        self.tables: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, tasks: Sequence[str], rows: np.ndarray, tokens: np.ndarray, shares: np.ndarray) -> None:
        """Soft targets on ``rows`` int64 [n]: ``tokens`` and ``shares`` [n, K]."""
        number = np.full(self.interactions, -1, np.int32)
        number[rows] = self.count + np.arange(len(rows))
        self.numbers |= dict.fromkeys(tasks, number)
        self.tables.append((tokens.astype(np.int32, copy=False), shares.astype(np.float32, copy=False)))
        self.count += len(rows)

    def distilled(self) -> DistilledRow | None:
        """One table of all; soft targets with fewer alternatives are padded with token 0 and share 0."""
        if not self.count:
            return None
        width = max(tokens.shape[1] for tokens, _ in self.tables)
        soft_targets = SoftTargets(
            np.zeros((self.count, width), np.int32), np.zeros((self.count, width), np.float32)
        )
        end = 0
        for tokens, shares in self.tables:
            part = slice(end, end := end + len(tokens))
            soft_targets.tokens[part, : tokens.shape[1]], soft_targets.shares[part, : tokens.shape[1]] = (
                tokens,
                shares,
            )
        return DistilledRow(soft_targets, self.numbers)


def _tokens_of(tokenizer: PreTrainedTokenizerFast, spelled: Sequence[str]) -> np.ndarray | None:
    """int32 [n]: the only token of each word; None where one has several."""
    ids_of_words = [
        tokenizer.backend_tokenizer.encode(word, add_special_tokens=False).ids for word in spelled
    ]
    if any(len(ids) != 1 for ids in ids_of_words):
        return None
    return np.array([ids[0] for ids in ids_of_words], np.int32)
