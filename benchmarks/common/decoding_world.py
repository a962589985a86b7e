"""What the decoding benchmark runs on: a T5 of t5-small's shape, a catalogue and prompts, all by seed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from transformers import T5Config, T5ForConditionalGeneration

from common import decoding_peers as peers
from p5t5.decoding.trie import Trie

FIRST_ITEM = 1000  # identifier tokens start here


@dataclass(frozen=True)
class Size:
    items: int
    levels: int
    branch: int
    prompt: int
    k: int
    config: dict
    our_batches: tuple[int, ...]
    their_batches: tuple[int, ...]
    repeats: int
    seen: int
    candidates: int
    many_items: int
    build_items: int
    scaling: tuple[int, ...]


T5_SMALL = {"vocab_size": 32128, "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8}
TOY = {"vocab_size": 2100, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
FULL = Size(
    12_000,
    4,
    256,
    100,
    20,
    T5_SMALL,
    (8, 16, 32),
    (2, 4, 8, 16),
    5,
    2000,
    100,
    1_000_000,
    200_000,
    (10**4, 10**5, 10**6, 10**7),
)
QUICK = Size(400, 4, 16, 20, 5, TOY, (2, 4), (2, 4), 2, 60, 20, 5000, 2000, (10**3, 10**4))


def random_identifiers(items: int, levels: int, branch: int, seed: int = 0) -> np.ndarray:
    """int32 [items, levels]: distinct random codes, each level with its own tokens, in random order."""
    rng = np.random.default_rng(seed)
    numbers = np.unique(rng.integers(0, branch**levels, items + items // 8 + 64))
    numbers = rng.permutation(numbers)[:items]
    codes = np.stack([numbers // branch**level % branch for level in range(levels)], 1)
    return (codes + FIRST_ITEM + branch * np.arange(levels)).astype(np.int32)


class World:
    """The model, the catalogue and the prompts of one size; everything is made when first asked for."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self._models: dict[str, T5ForConditionalGeneration] = {}
        self.identifiers = random_identifiers(size.items, size.levels, size.branch)

    def model(self, dtype: str) -> T5ForConditionalGeneration:
        if dtype not in self._models:
            self._models[dtype] = self._make_model(dtype)
        return self._models[dtype]

    def _make_model(self, dtype: str) -> T5ForConditionalGeneration:
        torch.manual_seed(0)
        model = T5ForConditionalGeneration(T5Config(**self.size.config, decoder_start_token_id=0)).eval()
        # A random T5 that shares the head with its embeddings repeats its input token with certainty, and
        # one with small logits ranks by rounding errors. So: a head of its own, logits of deviation 4.
        model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.shared.weight))
        with torch.no_grad():
            model.decoder.final_layer_norm.weight.mul_(4)
        return model.to(getattr(torch, dtype))

    @cached_property
    def trie(self) -> Trie:
        return Trie.build(self.identifiers)

    @cached_property
    def dict_trie(self) -> peers.DictTrie:
        return peers.DictTrie(self.identifiers.tolist())

    @cached_property
    def item_of(self) -> dict[tuple, int]:
        return {tuple(row): item for item, row in enumerate(self.identifiers.tolist())}

    def prompts(self, users: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        ids = torch.from_numpy(np.random.default_rng(seed).integers(2, FIRST_ITEM, (users, self.size.prompt)))
        return ids, torch.ones_like(ids)
