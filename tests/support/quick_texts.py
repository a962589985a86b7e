"""Texts in a moment: models of two steps write to the longest length, 128 samples of which take minutes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from p5t5.decoding.text_generation import TextOptions
from p5t5.inference import text_decoding_search
from p5t5.inference.text_writer import GREEDY


@contextmanager
def quick_texts() -> Iterator[pytest.MonkeyPatch]:
    """While it lasts, two settings are compared, with four samples a prompt."""
    settings = (GREEDY, TextOptions(sample=True, samples=4, temperature=0.5, seed=0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_decoding_search, "SETTINGS", settings)
        patch.setattr(text_decoding_search, "SAMPLES", 4)
        yield patch
