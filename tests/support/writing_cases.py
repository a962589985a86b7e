"""A small shop and an untrained model for the tests of written texts."""

from p5t5.checkpoint.checkpoint import Checkpoint
from p5t5.checkpoint.creation import create_checkpoint
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import Split, leave_one_out
from p5t5.text.prompts import load_prompts


def small_split() -> Split:
    return leave_one_out(simulate(users=12, items=20, seed=1).data)


def untrained(split: Split) -> Checkpoint:
    return create_checkpoint(split, load_prompts(), model="tiny", vocabulary_size=500)
