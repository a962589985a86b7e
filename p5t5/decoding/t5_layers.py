"""T5's sublayers for inference: transformers' numbers without its overhead.

transformers builds an attention mask per layer, allocates a tensor per elementwise step and takes four passes
for a norm; for models this small that is a fifth of the time. Here the mask is made once, and tensors that
nothing else refers to are changed in place. Only for use without gradients (`inference`). A module that is not a
plain `nn.Linear` (LoRA, quantized, hooked) is called as it is.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FEW_ROWS = 32  # below this a GEMM is bound by reading its weights, and converting them costs more


@contextmanager
def inference(model: nn.Module) -> Iterator[None]:
    """Inside, dropout is off and no gradients are recorded; the training flag is restored afterwards."""
    training = model.training
    if training:
        model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        if training:
            model.train()


@cache
def slow_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 matrices more slowly than float32 ones: x86 without AMX."""
    has_amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: True)()
    return platform.machine().lower() in ("x86_64", "amd64") and not has_amx


def matmul(x: Tensor, weight: Tensor) -> Tensor:
    """``x @ weight.T``; bfloat16 is computed through float32 where that is faster."""
    if (
        x.dtype == torch.bfloat16
        and x.device.type == "cpu"
        and x.numel() >= FEW_ROWS * x.shape[-1]
        and slow_bfloat16()
    ):
        return F.linear(x.float(), weight.float()).to(torch.bfloat16)
    return F.linear(x, weight)


def linear(module: nn.Module, x: Tensor) -> Tensor:
    """``module(x)`` [..., out features], by `matmul` for a plain `nn.Linear`."""
    if type(module) is nn.Linear and module.bias is None and not module._forward_hooks:
        return matmul(x, module.weight)
    return module(x)


def norm(layer_norm, x: Tensor) -> Tensor:
    """T5's root-mean-square norm, with the mean square in float32."""
    size = x.shape[-1]
    scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    scale = scale.square_().mul_(1 / size).add_(layer_norm.variance_epsilon).rsqrt_()
    return (x * scale).to(x.dtype).mul_(layer_norm.weight)  # the scale itself must not be rounded


def feed_forward(layer, hidden: Tensor) -> Tensor:
    """``hidden`` [..., d_model] plus its feed-forward sublayer, in place."""
    dense, normed = layer.DenseReluDense, norm(layer.layer_norm, hidden)
    if hasattr(dense, "wi_0"):
        inner = dense.act(linear(dense.wi_0, normed)).mul_(linear(dense.wi_1, normed))
    else:
        inner = linear(dense.wi, normed)
        inner = inner.relu_() if isinstance(dense.act, nn.ReLU) else dense.act(inner)
    return hidden.add_(linear(dense.wo, inner))


def heads(flat: Tensor, count: int) -> Tensor:
    """[B, W, heads * d] → [B, heads, W, d]."""
    return flat.unflatten(-1, (count, -1)).transpose(1, 2)


def merged(split: Tensor) -> Tensor:
    """[B, heads, W, d] → [B, W, heads * d]."""
    return split.transpose(1, 2).flatten(2)


def attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of queries [B, heads, W, d], merged to [B, W, heads * d]; T5 does not scale the scores."""
    return merged(F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, scale=1.0))


def encode(model, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Encoder states [B, S, d_model], as returned by ``model.encoder``."""
    encoder, count = model.encoder, model.config.num_heads
    if getattr(encoder, "whole_words", None) is not None:  # the model adds these itself
        return model.encode(input_ids, attention_mask)
    hidden = encoder.embed_tokens(input_ids)
    first = encoder.block[0].layer[0].SelfAttention
    length = input_ids.shape[1]
    bias = first.compute_bias(length, length, input_ids.device).to(hidden.dtype)
    if bool(attention_mask.all()):
        bias = bias.expand(len(input_ids), -1, -1, -1)
    else:
        bias = bias.masked_fill(~attention_mask.bool()[:, None, None, :], torch.finfo(hidden.dtype).min)
    for block in encoder.block:
        layer = block.layer[0]
        attention, normed = layer.SelfAttention, norm(layer.layer_norm, hidden)
        q, k, v = (heads(linear(part, normed), count) for part in (attention.q, attention.k, attention.v))
        hidden.add_(linear(attention.o, attend(q, k, v, bias)))
        hidden = feed_forward(block.layer[-1], hidden)
    return norm(encoder.final_layer_norm, hidden)
