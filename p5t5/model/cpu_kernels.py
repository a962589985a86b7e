"""T5's sublayers for training on a CPU, each a single autograd function with a hand-written backward.

transformers' modules build an attention mask in every layer, allocate a tensor for every elementwise step and
keep autograd busy; at d_model 128 that costs more than the matrix products. Here a sublayer (norm,
projections, attention or feed-forward, residual) is one function: projections of one input are one product,
the norm's weight is multiplied into them, masks touch padded columns only, and tensors that nothing else refers to
are changed in place. The results equal transformers' up to rounding (``tests/model/test_cpu_kernels.py``
compares them, and every backward with finite differences).

Dropout's random numbers are bytes, because generating them costs more than applying them: the rate is met to within
1/512, and the kept values are scaled by the rate actually used.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

_relu_backward = torch.ops.aten.threshold_backward.grad_input


class KeyPadding(NamedTuple):
    """The padded keys: none before column ``start``; ``mask`` bool [B, 1, 1, S - start] from there on."""

    start: int
    mask: Tensor


class DropoutMask(NamedTuple):
    """A dropout mask: ``kept`` bool; kept values are multiplied by ``scale``."""

    kept: Tensor
    scale: float

    def __call__(self, x: Tensor) -> Tensor:
        return x.mul_(self.kept).mul_(self.scale)


class LayerConfig(NamedTuple):
    """The settings of a sublayer."""

    heads: int
    epsilon: float
    dropout: float


def dropout_mask(shape: torch.Size | tuple[int, ...], rate: float) -> DropoutMask | None:
    """A dropout mask from torch's generator; None for rate 0."""
    dropped = round(rate * 256)
    if dropped == 0:
        return None
    count = torch.Size(shape).numel()
    random_bits = torch.empty(-(-count // 8), dtype=torch.int64).random_(-(2**63), None)
    return DropoutMask((random_bits.view(torch.uint8)[:count] >= dropped).view(shape), 256 / (256 - dropped))


def normed(x: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """(x / its root mean square, that factor [..., 1]): T5's norm without its weight."""
    factor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    factor = factor.square_().mul_(1 / x.shape[-1]).add_(epsilon).rsqrt_()
    return x * factor, factor


def normed_backward(grad: Tensor, norm: Tensor, factor: Tensor) -> Tensor:
    """The gradient of x [..., d], from ``grad`` [..., d], that of ``normed(x)``, which is overwritten."""
    projection = (grad * norm).sum(-1, keepdim=True).mul_(-1 / norm.shape[-1])
    return grad.addcmul_(norm, projection).mul_(factor)


class RMSNorm(Function):
    """``weight`` · x / rms(x)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        norm, factor = normed(x, epsilon)
        ctx.save_for_backward(norm, factor, weight)
        return norm * weight

    @staticmethod
    def backward(ctx: Any, grad: Tensor):
        norm, factor, weight = ctx.saved_tensors
        return normed_backward(grad * weight, norm, factor), (grad * norm).flatten(0, -2).sum(0), None


class FeedForward(Function):
    """x + relu(normed(x) · innerᵀ) · outerᵀ for x [N, d]; ``inner`` includes the norm's weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, inner: Tensor, outer: Tensor, config: LayerConfig) -> Tensor:
        norm, factor = normed(x, config.epsilon)
        hidden = (norm @ inner.t()).relu_()
        ctx.masks = dropout_mask(hidden.shape, config.dropout), dropout_mask(x.shape, config.dropout)
        if ctx.masks[0] is not None:
            ctx.masks[0](hidden)
        ctx.save_for_backward(norm, factor, hidden, inner, outer)
        return _residual(x, hidden, outer, ctx.masks[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor):
        norm, factor, hidden, inner, outer = ctx.saved_tensors
        branch = _masked(grad, ctx.masks[1])
        back = branch @ outer
        # Dropped entries of ``hidden`` are 0, like those that relu set to 0.
        _relu_backward(back, hidden, 0, grad_input=back)
        if ctx.masks[0] is not None:
            back.mul_(ctx.masks[0].scale)
        to_x = normed_backward(back @ inner, norm, factor).add_(grad)
        return to_x, back.t() @ norm, branch.t() @ hidden, None


class SelfAttention(Function):
    """x + attention(normed(x)) for x [B, S, d]; ``qkv`` [3·inner, d] includes the norm's weight.

    ``bias`` [heads, S, S] is added to the scores; a causal mask is part of it.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        qkv: Tensor,
        out: Tensor,
        bias: Tensor,
        padding: KeyPadding | None,
        config: LayerConfig,
    ) -> Tensor:
        rows, length, width = x.shape
        norm, factor = normed(x.reshape(-1, width), config.epsilon)
        qkv_heads = split_heads(norm @ qkv.t(), rows, 3, config.heads)
        probabilities, drop, mixed = _attend(qkv_heads[0], qkv_heads[1], qkv_heads[2], bias, padding, config)
        ctx.config, ctx.drop, ctx.residual_mask = (
            config,
            drop,
            dropout_mask((rows * length, width), config.dropout),
        )
        ctx.save_for_backward(norm, factor, qkv_heads, probabilities, mixed, qkv, out)
        return _residual(x.reshape(-1, width), mixed, out, ctx.residual_mask).view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor):
        norm, factor, qkv_heads, probabilities, mixed, qkv, out = ctx.saved_tensors
        rows, flat = len(grad), grad.reshape(-1, grad.shape[-1])
        branch = _masked(flat, ctx.residual_mask)
        gradients = torch.empty_like(qkv_heads)
        scores = _attend_backward(
            branch @ out,
            mixed,
            rows,
            (qkv_heads[0], qkv_heads[1], qkv_heads[2]),
            probabilities,
            ctx.drop,
            (gradients[0], gradients[1], gradients[2]),
        )
        joined = join_heads(gradients, rows)
        to_x = normed_backward(joined @ qkv, norm, factor).add_(flat).view_as(grad)
        to_bias = (
            scores.view(rows, ctx.config.heads, *scores.shape[1:]).sum(0) if ctx.needs_input_grad[3] else None
        )
        return to_x, joined.t() @ norm, branch.t() @ mixed, to_bias, None, None


class CrossAttention(Function):
    """x + attention(normed(x), keys, values) for x [B, T, d]; keys and values [B·heads, S, d_kv]."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        keys: Tensor,
        values: Tensor,
        query: Tensor,
        out: Tensor,
        padding: KeyPadding | None,
        config: LayerConfig,
    ) -> Tensor:
        rows, length, width = x.shape
        norm, factor = normed(x.reshape(-1, width), config.epsilon)
        queries = split_heads(norm @ query.t(), rows, 1, config.heads)[0]
        probabilities, drop, mixed = _attend(queries, keys, values, None, padding, config)
        ctx.config, ctx.drop, ctx.residual_mask = (
            config,
            drop,
            dropout_mask((rows * length, width), config.dropout),
        )
        ctx.save_for_backward(norm, factor, queries, keys, values, probabilities, mixed, query, out)
        return _residual(x.reshape(-1, width), mixed, out, ctx.residual_mask).view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor):
        norm, factor, queries, keys, values, probabilities, mixed, query, out = ctx.saved_tensors
        rows, flat = len(grad), grad.reshape(-1, grad.shape[-1])
        branch = _masked(flat, ctx.residual_mask)
        gradients = torch.empty_like(queries), torch.empty_like(keys), torch.empty_like(values)
        _attend_backward(
            branch @ out, mixed, rows, (queries, keys, values), probabilities, ctx.drop, gradients
        )
        joined = join_heads(gradients[0][None], rows)
        to_x = normed_backward(joined @ query, norm, factor).add_(flat).view_as(grad)
        return to_x, gradients[1], gradients[2], joined.t() @ norm, branch.t() @ mixed, None, None


class KeysAndValues(Function):
    """x [B, S, d] · weightᵀ as ``groups`` tensors [B·heads, S, d_kv]: the keys and values of all decoder layers."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, groups: int, heads: int) -> tuple[Tensor, ...]:
        flat = x.reshape(-1, x.shape[-1])
        ctx.save_for_backward(flat, weight)
        ctx.shape = x.shape
        return tuple(split_heads(flat @ weight.t(), len(x), groups, heads).unbind(0))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor):
        flat, weight = ctx.saved_tensors
        rows, length = ctx.shape[:2]
        inner = weight.shape[0] // len(grads)
        joined = flat.new_empty(rows, length, len(grads), inner)
        for group, grad in enumerate(grads):
            heads = grad.shape[0] // rows
            joined[:, :, group].view(rows, length, heads, -1).copy_(
                grad.view(rows, heads, length, -1).transpose(1, 2)
            )
        joined = joined.view(-1, weight.shape[0])
        return (joined @ weight).view(ctx.shape), joined.t() @ flat, None, None


class Diagonals(Function):
    """[heads, 2S − 1] values for the distances 1 − S … S − 1 → [heads, S, S]: entry (i, j) is that of j − i."""

    @staticmethod
    def forward(ctx: Any, table: Tensor) -> Tensor:
        heads, distances = table.shape
        length = (distances + 1) // 2
        rows = table.contiguous().as_strided((heads, length, length), (distances, 1, 1))
        return rows.flip(1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor):
        heads, length, _ = grad.shape
        spread = grad.new_zeros(heads, length, 2 * length)
        # Row m of the flipped gradient belongs to the distances from m on: moved there, columns are distances.
        spread.as_strided((heads, length, length), (2 * length * length, 2 * length + 1, 1)).copy_(
            grad.flip(1)
        )
        return spread.sum(1)[:, :-1]


def split_heads(flat: Tensor, rows: int, groups: int, heads: int) -> Tensor:
    """[B·S, groups·heads·d] → contiguous [groups, B·heads, S, d]."""
    parts = flat.view(rows, len(flat) // rows, groups, heads, -1).permute(2, 0, 3, 1, 4)
    return parts.contiguous().view(groups, rows * heads, len(flat) // rows, -1)


def join_heads(parts: Tensor, rows: int) -> Tensor:
    """[groups, B·heads, S, d] → [B·S, groups·heads·d]."""
    groups, both, length, size = parts.shape
    joined = parts.view(groups, rows, both // rows, length, size).permute(1, 3, 0, 2, 4)
    return joined.reshape(rows * length, -1)


def _attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    bias: Tensor | None,
    padding: KeyPadding | None,
    config: LayerConfig,
) -> tuple[Tensor, DropoutMask | None, Tensor]:
    """(probabilities [B·heads, T, S] before dropout, its mask, outputs [B·T, inner])."""
    scores = torch.bmm(queries, keys.transpose(1, 2))
    shaped = scores.view(-1, config.heads, *scores.shape[1:])
    if bias is not None:
        shaped.add_(bias)
    if padding is not None:
        shaped[..., padding.start :].masked_fill_(padding.mask, torch.finfo(scores.dtype).min)
    probabilities = torch.softmax(scores, -1, out=scores)
    mask = dropout_mask(scores.shape, config.dropout)
    kept = probabilities if mask is None else mask(probabilities.clone())
    return probabilities, mask, join_heads(torch.bmm(kept, values)[None], len(shaped))


def _attend_backward(
    grad: Tensor,
    mixed: Tensor,
    rows: int,
    qkv_heads: tuple[Tensor, Tensor, Tensor],
    probabilities: Tensor,
    mask: DropoutMask | None,
    gradients: tuple[Tensor, Tensor, Tensor],
) -> Tensor:
    """Fills in the ``gradients`` of queries, keys and values; returns the gradient of the scores.

    ``grad``: that of the outputs ``mixed`` [B·T, inner]. Softmax's backward subtracts sum(probabilities * gradient)
    from each row; that equals output · gradient of the output (Dao et al. 2022, arXiv 2205.14135, appendix B), which is
    a far smaller sum.
    """
    (queries, keys, values), (to_queries, to_keys, to_values) = qkv_heads, gradients
    heads = len(queries) // rows
    weighted_sums = (grad * mixed).view(rows, -1, heads, queries.shape[-1]).sum(-1).transpose(1, 2)
    grad = split_heads(grad, rows, 1, heads)[0]
    score_gradient = torch.bmm(grad, values.transpose(1, 2))
    kept = probabilities
    if mask is not None:
        mask(score_gradient)
        kept = mask(probabilities.clone())
    torch.bmm(kept.transpose(1, 2), grad, out=to_values)
    score_gradient.sub_(weighted_sums.reshape(len(score_gradient), -1, 1)).mul_(probabilities)
    torch.bmm(score_gradient, keys, out=to_queries)
    torch.bmm(score_gradient.transpose(1, 2), queries, out=to_keys)
    return score_gradient


def _residual(x: Tensor, inner: Tensor, weight: Tensor, mask: DropoutMask | None) -> Tensor:
    if mask is None:
        return torch.addmm(x, inner, weight.t())
    return mask(inner @ weight.t()).add_(x)


def _masked(grad: Tensor, mask: DropoutMask | None) -> Tensor:
    return grad if mask is None else mask(grad.clone())
