"""A sample of users that is the same whatever the order of the rows, and whoever else is there."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np


def draw_keys(user_ids: Sequence[str], seed: int) -> np.ndarray:
    """uint64 [users]: a hash of seed and id; the sample of N users are those with the N smallest.

    Adding users can only push others out: what is not in the sample of a part is not in that of the whole,
    so rows can be thrown away while a file is being read.
    """
    start = f"{seed}\x1f".encode()
    digests = (hashlib.blake2b(start + user.encode(), digest_size=8).digest() for user in user_ids)
    return np.frombuffer(b"".join(digests), np.uint64)


def drawn(keys: np.ndarray, candidates: np.ndarray, number: int) -> np.ndarray:
    """int64: those of ``candidates`` (places in ``keys``) with the ``number`` smallest keys."""
    if len(candidates) <= number:
        return candidates
    return candidates[np.lexsort((candidates, keys[candidates]))[:number]]
