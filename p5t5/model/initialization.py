"""Model initialization: weights from scratch, identifier embeddings from the data, a grown vocabulary.

T5 initializes its embeddings with N(0, 1), from where Adam makes slow progress. Four changes train far faster (measured in
dev/lab/initialization.md): embeddings small, but not so small that the first layers' outputs dominate them; a
final norm that lets the logits spread at once, since with a norm w and embeddings e no logit exceeds w·|e|
and Adam needs hundreds of steps to grow either; position biases that prefer near tokens, so that the last
item is found early; and cross-attention that passes on what it reads, so that with a tied head the first
answers are already close to the question.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import T5ForConditionalGeneration
from transformers.models.t5.modeling_t5 import T5Attention

from p5t5.model.configuration import P5T5Config
from p5t5.model.modeling import P5T5Encoder, P5T5ForConditionalGeneration

EMBEDDING_SCALE = 0.35  # standard deviation of an entry of a text token's embedding
IDENTIFIER_SCALE = 0.35  # root mean square of an entry of an identifier's
LOGIT_SPAN = 20.0  # the largest difference of two logits before the decoder's final norm has grown
REPELLED = 2.0  # how strongly an item of the history lowers its own logit (`suppress_seen_items`)
STEEPEST, FLATTEST = 1.0, 0.1  # slopes of the position biases: log-attention per token of distance


def identifier_norm(d_model: int) -> float:
    """The norm of identifier embeddings at the start."""
    return IDENTIFIER_SCALE * d_model**0.5


def initialize(config: P5T5Config, seed: int = 0) -> P5T5ForConditionalGeneration:
    """A model from scratch, in training mode; the same seed gives the same weights.

    The decoder's final norm is set so that the logits of identifiers (``start_identifiers``) can span
    ± ``LOGIT_SPAN``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = P5T5ForConditionalGeneration(config)
    with torch.no_grad():
        model.shared.weight.mul_(EMBEDDING_SCALE)
        model.decoder.final_layer_norm.weight.fill_(LOGIT_SPAN / identifier_norm(config.d_model))
        stacks: Any = ((model.encoder, True), (model.decoder, False))
        for stack, bidirectional in stacks:
            first = stack.block[0]  # the layers above share its biases
            bias = first.layer[0].SelfAttention.relative_attention_bias.weight
            bias.copy_(near_bias(config, bidirectional))
        blocks: Any = model.decoder.block
        for block in blocks:
            attention = block.layer[1].EncDecAttention
            for matrix in (attention.v.weight, attention.o.weight):
                matrix.copy_(torch.eye(*matrix.shape))
    return model.train()


@torch.no_grad()
def suppress_seen_items(model: T5ForConditionalGeneration, dimensions: int) -> None:
    """Items of the history lower their own logit through the last ``dimensions``, the identity dimensions.

    For data in which items are seldom repeated. The last decoder block passes these dimensions on with the opposite sign,
    times REPELLED; the blocks before it do not pass them on.
    """
    blocks: Any = model.decoder.block
    for number, block in enumerate(blocks):
        factor = -REPELLED if number == len(blocks) - 1 else 0.0
        block.layer[1].EncDecAttention.o.weight[len(model.shared.weight[0]) - dimensions :] *= factor


def near_bias(config: P5T5Config, bidirectional: bool) -> torch.Tensor:
    """float [buckets, heads]: a T5 position bias that falls with the distance, with a different slope for each head.

    As in ALiBi (Press et al., 2022), but trained further. The last head has no slope, for long distances.
    """
    buckets, max_distance, heads = (
        config.relative_attention_num_buckets,
        config.relative_attention_max_distance,
        config.num_heads,
    )
    offsets = torch.arange(-max_distance, max_distance + 1 if bidirectional else 1)
    bucket = T5Attention._relative_position_bucket(offsets[None], bidirectional, buckets, max_distance)[0]
    distance = torch.zeros(buckets)
    distance.scatter_reduce_(0, bucket, offsets.abs().float(), "amin", include_self=False)
    slopes = torch.zeros(heads)
    if heads > 1:
        slopes[:-1] = torch.logspace(np.log10(STEEPEST), np.log10(FLATTEST), heads - 1)
    return -distance[:, None] * slopes


@torch.no_grad()
def start_identifiers(
    model: T5ForConditionalGeneration,
    token_ids: np.ndarray,
    vectors: np.ndarray,
    *,
    seed: int = 0,
    noise: float = 0.1,
) -> None:
    """Sets the embeddings of identifier tokens from vectors of the things that they name.

    ``token_ids`` int [n, levels], padded with -1; ``vectors`` float [n, f], rows of about norm 1 (for
    instance ``cooccurrence.factors``). The embedding is the vector cut or padded to d_model, with
    Gaussian noise of total norm ``noise`` in the padding, scaled to ``identifier_norm``. A token that names several things
    gets the mean of theirs. The rows of an untied head are set too. Raises ValueError for arrays of different lengths.
    """
    token_ids, vectors = np.asarray(token_ids), np.asarray(vectors, np.float64)
    if len(token_ids) != len(vectors):
        raise ValueError(f"{len(token_ids)} rows of token ids, but {len(vectors)} vectors")
    if token_ids.ndim == 1:
        token_ids = token_ids[:, None]
    width = model.config.d_model
    rng = np.random.default_rng([seed, 0x1D])
    rows, levels = np.nonzero(token_ids >= 0)
    tokens, token_index = np.unique(token_ids[rows, levels], return_inverse=True)
    copied = min(width, vectors.shape[1])
    table = np.zeros((len(tokens), width))
    np.add.at(table[:, :copied], token_index, vectors[rows, :copied])
    table /= np.maximum(np.bincount(token_index, minlength=len(tokens)), 1)[:, None]
    table[:, copied:] = rng.normal(0, noise * width**-0.5, (len(tokens), width - copied))
    empty = np.linalg.norm(table, axis=1) < 1e-6
    table[empty] = rng.normal(0, 1, (int(empty.sum()), width))
    table *= identifier_norm(width) / np.linalg.norm(table, axis=1, keepdims=True)
    ids = torch.from_numpy(tokens.astype(np.int64))
    values = torch.from_numpy(table).to(model.shared.weight)
    model.shared.weight[ids] = values
    if model.lm_head.weight is not model.shared.weight:
        # Only a tied head scales the decoder's outputs; the same logits here need the scale in the rows.
        model.lm_head.weight[ids] = values if model.config.scale_decoder_outputs else values * width**-0.5


@torch.no_grad()
def grow_vocabulary(
    model: T5ForConditionalGeneration, new_size: int, *, seed: int = 0
) -> T5ForConditionalGeneration:
    """Appends rows up to ``new_size`` to the embedding and, if untied, to the head, in place.

    New rows are normal, with the standard deviation of the old ones: a checkpoint's embeddings may be
    of any scale, and much smaller ones would be ineffective. The old tokens' logits do not change.
    transformers' ``resize_token_embeddings`` would tie an untied head to the embedding and so destroy it.
    Raises ValueError for a smaller size.
    """
    old_size = model.shared.weight.shape[0]
    if new_size < old_size:
        raise ValueError(f"a vocabulary of {old_size} cannot grow to {new_size}")
    if new_size == old_size:
        return model
    tied = model.lm_head.weight is model.shared.weight
    generator = torch.Generator().manual_seed(seed)

    def grown(old: torch.Tensor) -> nn.Parameter:
        rows = torch.randn(new_size - old_size, old.shape[1], generator=generator) * old.float().std().cpu()
        return nn.Parameter(torch.cat([old, rows.to(old)]), requires_grad=old.requires_grad)

    shared = nn.Embedding(1, 1)
    shared.weight = grown(model.shared.weight)
    shared.num_embeddings, shared.embedding_dim = shared.weight.shape
    head = model.lm_head
    model.set_input_embeddings(shared)
    head.weight = shared.weight if tied else grown(head.weight)
    head.out_features = new_size
    if isinstance(model.encoder, P5T5Encoder) and model.encoder.whole_words is not None:
        starts = model.encoder.word_start
        model.encoder.word_start = torch.cat([starts, starts.new_ones(new_size - old_size)])
    for config in (model.config, model.encoder.config, model.decoder.config):
        config.vocab_size = new_size
    return model


def set_word_starts(
    model: P5T5ForConditionalGeneration, pieces: Sequence[str], continuing: Sequence[int] = ()
) -> None:
    """Stores which tokens start a word, for models with whole-word embeddings.

    ``pieces``: the tokenizer's pieces by id; those that begin with "▁" start a word, as do special
    tokens. ``continuing``: ids that do not although they begin so (all but the first token of an
    identifier of several tokens, which counts as one word). Raises ValueError for a model without such embeddings.
    """
    if not isinstance(model.encoder, P5T5Encoder):
        raise ValueError("this model has no whole-word embeddings")
    starts = torch.ones(model.config.vocab_size, dtype=torch.bool)
    special = [
        piece.startswith("<") and piece.endswith(">") and not piece.startswith("<0x") for piece in pieces
    ]
    for index, piece in enumerate(pieces):
        starts[index] = piece.startswith("▁") or special[index]
    starts[torch.as_tensor(list(continuing), dtype=torch.long)] = False
    model.encoder.word_start.copy_(starts)
