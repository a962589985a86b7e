"""Prompt augmentation: training prompts with words dropped, swapped, shuffled or replaced by invented ones.

A model trained from scratch knows no language. Always asked with the same few prompts, it takes their words
as keys, and a prompt that it never saw leaves it without any. So in SHARE of the training examples every
literal is replaced by one of its variants: the question must be read off the slots and the remaining words,
and unknown words ignored. Invented words are spelled in pieces, as the words of new prompts are. Held-out
prompts are never looked at; evaluation and inference use no variants.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from p5t5.core.randomness import below, generator, uniform

SHARE = 0.5  # of the examples
VARIANTS = 32  # of each literal; number v alters a word with the chance (v + 1) / VARIANTS
_IS_ALTERED, _VARIANT, _WORDS = range(111, 114)  # what a draw is for


def draw_augmentations(seed: int, epoch: int, places: np.ndarray) -> np.ndarray:
    """int64 [places]: the variant of the examples at these places of an epoch, −1 for the plain wording."""
    variant = below(VARIANTS, seed, _VARIANT, epoch, places)
    return np.where(uniform(seed, _IS_ALTERED, epoch, places) < SHARE, variant, -1)


def augment(literal: str, words: Sequence[str]) -> list[str]:
    """The VARIANTS of a literal (which may be empty), with ``words`` to draw others from.

    A pure function of its arguments: variants hang neither together with those of other literals nor
    with the seed of the training.
    """
    draw = generator(zlib.crc32(literal.encode()), _WORDS)
    words = [word for word in words if word.isalpha()]
    return [_vary(literal.split(), words, (v + 1) / VARIANTS, draw) for v in range(VARIANTS)]


def _vary(literal: list[str], words: Sequence[str], strength: float, draw: np.random.Generator) -> str:
    out = []
    for word in literal:
        touched, kind = draw.random(2)
        if touched >= strength:
            out.append(word)
        elif words and kind < 0.5:
            out.append(_made_up(words, draw))
        elif words and kind < 0.65:
            out.append(words[int(draw.integers(len(words)))])
        elif kind < 0.7:
            out.append(word[:1].swapcase() + word[1:])
    # New wordings may be longer, and speak where this one is silent.
    if words and draw.random() < strength / 3:
        for _ in range(draw.integers(1, 4)):
            word = _made_up(words, draw) if draw.random() < 0.5 else words[int(draw.integers(len(words)))]
            out.insert(int(draw.integers(len(out) + 1)), word)
    if draw.random() < strength / 2:
        draw.shuffle(out)
    return " ".join(out)


def _made_up(words: Sequence[str], draw: np.random.Generator) -> str:
    """The head of a word and the tail of another."""
    head, tail = (words[place] for place in draw.integers(len(words), size=2).tolist())
    return head[: (len(head) + 1) // 2] + tail[len(tail) // 2 :]
