"""A small shop and an untrained model for the tests of written texts."""

from p5t5.checkpoint import Checkpoint
from p5t5.prompts import load_prompts
from p5t5.sources.simulated import simulate
from p5t5.splits import Split, leave_one_out


def small_split() -> Split:
    return leave_one_out(simulate(users=12, items=20, seed=1).data)


def untrained(split: Split) -> Checkpoint:
    return Checkpoint.create(split, load_prompts(), model="tiny", vocabulary_size=500)
