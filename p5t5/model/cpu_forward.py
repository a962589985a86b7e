"""T5's encoder and decoder for training on a CPU, built from the CPU kernels: the same numbers, faster."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.t5.modeling_t5 import T5Attention, T5DenseActDense

from p5t5.model.cpu_kernels import (
    CrossAttention,
    Diagonals,
    FeedForward,
    KeyPadding,
    KeysAndValues,
    LayerConfig,
    RMSNorm,
    SelfAttention,
    dropout_mask,
)


def can_fuse(model: Any) -> bool:
    """Whether ``decoder_states`` can replace the stacks: float32 or float64 weights on a CPU in plain modules.

    Where a module is hooked, wrapped or replaced (LoRA, FSDP) or quantized, or activations are to be
    recomputed, transformers' own forward has to run.
    """
    if type(model.shared) is not nn.Embedding or type(model.lm_head) is not nn.Linear:
        return False
    weight = model.shared.weight
    if weight.device.type != "cpu" or weight.dtype not in (torch.float32, torch.float64):
        return False
    if torch.is_autocast_enabled("cpu") or type(weight) is not nn.Parameter:
        return False
    for stack in (model.encoder, model.decoder):
        if stack.gradient_checkpointing:
            return False
        for module in stack.modules():
            if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
                return False
            if isinstance(module, nn.Linear) and (type(module) is not nn.Linear or module.bias is not None):
                return False
    return all(
        type(part) is nn.Linear
        for stack in (model.encoder, model.decoder)
        for block in stack.block
        for part in _projections(block)
    )


def decoder_states(model: Any, inputs: Tensor, attention_mask: Tensor | None, targets: Tensor) -> Tensor:
    """[B, T, d_model] from embedded ``inputs`` [B, S, d_model] and decoder inputs ``targets`` [B, T, d_model].

    Equal to ``model.encoder`` and ``model.decoder`` in training mode, dropout included.
    """
    encoder, decoder = model.encoder, model.decoder
    config = LayerConfig(model.config.num_heads, model.config.layer_norm_epsilon, encoder.dropout.p)
    padding = _padding(attention_mask)
    hidden = _dropped(inputs, config.dropout)
    bias = position_bias(encoder, inputs.shape[1])
    for block in encoder.block:
        hidden = _self_attention(block, hidden, bias, padding, config)
        hidden = _feed_forward(block, hidden, config)
    hidden = RMSNorm.apply(hidden, encoder.final_layer_norm.weight, config.epsilon)
    hidden = _dropped(hidden, config.dropout)
    attentions = [block.layer[1].EncDecAttention for block in decoder.block]
    weight = torch.cat([part.weight for layer in attentions for part in (layer.k, layer.v)])
    keys_and_values = KeysAndValues.apply(hidden, weight, 2 * len(attentions), config.heads)
    hidden = _dropped(targets, config.dropout)
    bias = position_bias(decoder, targets.shape[1])
    future = torch.ones(bias.shape[1:], dtype=torch.bool).triu_(1)
    bias = bias.masked_fill(future, torch.finfo(bias.dtype).min)
    for number, block in enumerate(decoder.block):
        hidden = _self_attention(block, hidden, bias, None, config)
        layer = block.layer[1]
        query = layer.EncDecAttention.q.weight * layer.layer_norm.weight
        keys, values = keys_and_values[2 * number : 2 * number + 2]
        out = layer.EncDecAttention.o.weight
        hidden = CrossAttention.apply(hidden, keys, values, query, out, padding, config)
        hidden = _feed_forward(block, hidden, config)
    hidden = RMSNorm.apply(hidden, decoder.final_layer_norm.weight, config.epsilon)
    return _dropped(hidden, config.dropout)


def position_bias(stack: Any, length: int) -> Tensor:
    """[heads, length, length]: the stack's relative position biases."""
    attention = stack.block[0].layer[0].SelfAttention
    bucket = T5Attention._relative_position_bucket(
        torch.arange(1 - length, length),
        bidirectional=not stack.is_decoder,
        num_buckets=attention.relative_attention_num_buckets,
        max_distance=attention.relative_attention_max_distance,
    )
    return Diagonals.apply(attention.relative_attention_bias(bucket).t())


def _self_attention(
    block: Any, hidden: Tensor, bias: Tensor, padding: KeyPadding | None, config: LayerConfig
) -> Tensor:
    layer = block.layer[0]
    attention = layer.SelfAttention
    qkv = torch.cat([attention.q.weight, attention.k.weight, attention.v.weight]) * layer.layer_norm.weight
    return SelfAttention.apply(hidden, qkv, attention.o.weight, bias, padding, config)


def _feed_forward(block: Any, hidden: Tensor, config: LayerConfig) -> Tensor:
    layer = block.layer[-1]
    dense = layer.DenseReluDense
    if not isinstance(dense, T5DenseActDense) or not isinstance(dense.act, nn.ReLU):
        return layer(hidden)  # gated, or another activation: T5 v1.1
    inner = dense.wi.weight * layer.layer_norm.weight
    return FeedForward.apply(hidden.flatten(0, 1), inner, dense.wo.weight, config).view_as(hidden)


def _projections(block) -> list[nn.Module]:
    """The linear modules of a block whose weights are read here."""
    modules = [getattr(block.layer[0].SelfAttention, name) for name in "qkvo"]
    if block.is_decoder:
        modules += [getattr(block.layer[1].EncDecAttention, name) for name in "qkvo"]
    dense = block.layer[-1].DenseReluDense
    return modules + ([dense.wi, dense.wo] if isinstance(dense, T5DenseActDense) else [])


def _padding(attention_mask: Tensor | None) -> KeyPadding | None:
    """The padding of the keys; None where there is none."""
    if attention_mask is None:
        return None
    padded = attention_mask == 0
    columns = padded.any(0)
    if not columns.any():
        return None
    start = int(columns.int().argmax())
    return KeyPadding(start, padded[:, None, None, start:])


def _dropped(x: Tensor, rate: float) -> Tensor:
    mask = dropout_mask(x.shape, rate)
    return x if mask is None else x * (mask.kept.to(x.dtype) * mask.scale)
