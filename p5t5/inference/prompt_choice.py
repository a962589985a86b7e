"""The prompt for a request: from what is known to the task and the prompt whose slots can be filled."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from p5t5.inference.request import Filled
from p5t5.tasks.registry import TASKS
from p5t5.text.prompts import PLACEHOLDER, Prompt

# Slots that describe the person; a prompt that uses more of them is preferred.
PERSONAL = ({"user"}, {"history", "history_titles"}, {"rated_history", "rated_titles"})

NAMED = {"history", "rated_history", "item"}  # slots that hold item identifiers


def choose_prompt(
    prompts: Sequence[Prompt],
    task: str,
    filled: Filled,
    similarity: np.ndarray | None = None,
    allow_empty: bool = False,
) -> int | None:
    """The prompt of ``task`` to use (an index into ``prompts``); None if none can be filled.

    Order of preference: prompts seen in training, then those that use most of what is known of the person,
    then those that name items by identifier (which training learns best), then the most similar to the question
    (``similarity``, one number per prompt), then the first. ``allow_empty``: a history may be empty.
    """
    best: tuple[tuple, int] | None = None
    for index, prompt in enumerate(prompts):
        slots = set(PLACEHOLDER.findall(prompt.input))
        if (
            prompt.task != task
            or not slots <= filled.columns.keys()
            or (slots & filled.empty and not allow_empty)
        ):
            continue
        used = sum(bool(slots & kind - filled.empty) for kind in PERSONAL)
        nearness = 0.0 if similarity is None else float(similarity[index])
        key = (not prompt.held_out, -len(slots & filled.empty), used, bool(slots & NAMED), nearness, -index)
        if best is None or key > best[0]:
            best = key, index
    return None if best is None else best[1]


def choose_task(
    prompts: Sequence[Prompt],
    task: str,
    filled: Filled,
    learnt: Collection[str] = (),
    similarity: np.ndarray | None = None,
) -> tuple[str, int] | None:
    """(task, prompt index): the task itself where it can be asked, else the first of ``Task.substitutes`` that can, else None.

    ``learnt``: the tasks that the model was trained on; empty: unknown, any task may be used.
    """
    for allow_empty in (False, True):
        for name in (task, *TASKS[task].substitutes):
            if learnt and name not in learnt:
                continue
            index = choose_prompt(prompts, name, filled, similarity, allow_empty)
            if index is not None:
                return name, index
    return None
