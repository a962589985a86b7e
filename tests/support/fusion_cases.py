"""What the tests of the fusion share: a small shop, a model that has learnt nothing, parts with known scores."""

from __future__ import annotations

import numpy as np

from p5t5.baselines.base import Scorer
from p5t5.checkpoint.checkpoint import Checkpoint
from p5t5.checkpoint.creation import create_checkpoint
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import Split, leave_one_out
from p5t5.text.prompts import load_prompts


def small_shop() -> Split:
    return leave_one_out(simulate(users=150, items=60, seed=3).data)


def untrained(split: Split) -> Checkpoint:
    prompts = [prompt for prompt in load_prompts() if prompt.task == "sequential/next_item"]
    made = create_checkpoint(split, prompts, model="tiny", vocabulary_size=600)
    made.info.tasks = ["sequential/next_item"]
    made.model.eval()
    return made


class Table(Scorer):
    """Scores by user, whatever the history."""

    nonnegative = False

    def __init__(self, name: str, table: np.ndarray):
        self.name, self.table, self.number_of_items = name, table, table.shape[1]

    def scores(self, histories, users=None):
        return self.table[users]


def z(table: np.ndarray) -> np.ndarray:
    return (table - table.mean(1, keepdims=True)) / table.std(1, keepdims=True)
