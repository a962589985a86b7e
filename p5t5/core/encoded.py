"""Rendered examples as token ids, in memory or on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from p5t5.core.ragged import Ragged


@dataclass(frozen=True)
class SoftTargets:
    """Soft targets: what a target token might have been instead, n of them with K alternatives each.

    ``tokens`` int32 [n, K]; ``shares`` float32 [n, K]: how much of the token's loss weight goes to each,
    0 where there are fewer; a row sums to alpha (below 1), the rest is the true token's.
    """

    tokens: np.ndarray
    shares: np.ndarray


@dataclass(frozen=True)
class Encoded:
    """Examples as token ids, ready to be planned into batches.

    - ``inputs``: Ragged int32, encoder ids, ``</s>`` included.
    - ``targets``: Ragged int32, decoder labels, ``</s>`` included.
    - ``weights``: float32 [len(targets.values)]: the loss weight of each target token; within an
      answer unit (one item, one rating, one text) they sum to the task's weight.
    - ``units``: int32 [examples]: how many answer units each example has. The loss of a global
      batch is sum(weight * nll) / sum(units).
    - ``soft_targets`` and ``soft_target_index``: the soft targets, shared by all parts of an epoch, and int32
      [len(targets.values)] which of them a target token has, −1 for none. None without soft targets.
    """

    inputs: Ragged
    targets: Ragged
    weights: np.ndarray
    units: np.ndarray
    soft_targets: SoftTargets | None = None
    soft_target_index: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, rows: np.ndarray) -> Encoded:
        weights, soft_target_index = (
            None if values is None else Ragged(values, self.targets.offsets).take(rows).values
            for values in (self.weights, self.soft_target_index)
        )
        assert weights is not None
        return Encoded(
            self.inputs.take(rows),
            self.targets.take(rows),
            weights,
            self.units[rows],
            self.soft_targets,
            soft_target_index,
        )

    @staticmethod
    def concatenate(parts: Sequence[Encoded]) -> Encoded:
        soft_targets = next((part.soft_targets for part in parts if part.soft_targets is not None), None)
        return Encoded(
            Ragged.concatenate([part.inputs for part in parts]),
            Ragged.concatenate([part.targets for part in parts]),
            np.concatenate([part.weights for part in parts]) if parts else np.zeros(0, np.float32),
            np.concatenate([part.units for part in parts]) if parts else np.zeros(0, np.int32),
            soft_targets,
            None
            if soft_targets is None
            else np.concatenate([part.soft_target_index_or_none() for part in parts]),
        )

    def soft_target_index_or_none(self) -> np.ndarray:
        """``soft_target_index``, −1 throughout where there is none."""
        return (
            np.full(len(self.weights), -1, np.int32)
            if self.soft_target_index is None
            else self.soft_target_index
        )


def on_disk(parts: Iterable[Encoded]) -> Encoded:
    """The examples of all parts (at least one), in order, their tokens and weights in memory-mapped files.

    The files have no name: they go with the arrays, or with the process however it ends.
    """
    files = [tempfile.TemporaryFile() for _ in range(4)]  # noqa: SIM115
    lengths: list[list[np.ndarray]] = [[], []]
    units, soft_targets = [], None
    for part in parts:
        arrays = part.inputs.values, part.targets.values, part.weights, part.soft_target_index_or_none()
        for file, values in zip(files, arrays, strict=True):
            values.tofile(file)
        lengths[0].append(part.inputs.lengths)
        lengths[1].append(part.targets.lengths)
        units.append(part.units)
        soft_targets = part.soft_targets if soft_targets is None else soft_targets
        dtypes = [values.dtype for values in arrays]
    # As plain arrays: they keep the mapping, and are quicker to slice.
    inputs, targets, weights, soft_target_index = (
        np.asarray(np.memmap(file, dtype, "r")) for file, dtype in zip(files, dtypes, strict=True)
    )
    return Encoded(
        Ragged.from_lengths(inputs, np.concatenate(lengths[0])),
        Ragged.from_lengths(targets, np.concatenate(lengths[1])),
        weights,
        np.concatenate(units),
        soft_targets,
        None if soft_targets is None else soft_target_index,
    )
