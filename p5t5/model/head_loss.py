"""The loss of the head's logits, with the gradients computed on the way: the logits are never stored.

A vocabulary of tens of thousands of identifiers makes the head's logits, their softmax and the embedding's
gradient the largest tensors of a small model's step. Here the logits live a chunk at a time, the softmax is
taken once, and the tied table gets one dense gradient: the head's, to which the rows of the lookups are
added.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

MAX_LOGITS = 1 << 23  # logits held at a time


class TiedGradient:
    """Passes the head's gradient of the tied table to the lookup, whose backward always comes later."""

    def __init__(self) -> None:
        self.head: Tensor | None = None


class Lookup(Function):
    """Rows of ``weight`` [V, d] at ``ids`` [N]; its backward adds the head's gradient, if any."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, tied: TiedGradient) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.rows, ctx.tied = len(weight), tied
        return weight.index_select(0, ids)

    @staticmethod
    def backward(ctx: Any, grad: Tensor):
        (ids,) = ctx.saved_tensors
        total, ctx.tied.head = ctx.tied.head, None
        if total is None:
            total = grad.new_zeros(ctx.rows, grad.shape[-1])
        # Summed over equal ids first: adding row by row to the table is slow.
        unique, index = ids.unique(return_inverse=True)
        summed = torch.ops.aten.embedding_dense_backward(grad.contiguous(), index, len(unique), -1, False)
        total.index_copy_(0, unique, total.index_select(0, unique).add_(summed))
        return total, None, None


class HeadLoss(Function):
    """Scalar: Σ shares · nll over labels, with logits hidden [N, d] · weightᵀ [d, V].

    ``labels`` int64 and ``shares`` [N] or, with several labels per position, [N, K]. With ``tied``, the gradient of
    ``weight`` is left there for the lookup to add.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, shares: Tensor, tied: TiedGradient | None
    ) -> Tensor:
        if labels.dim() == 1:
            labels, shares = labels[:, None], shares[:, None]
        needs_weight_gradient = ctx.needs_input_grad[1]
        chunk = max(MAX_LOGITS // len(weight), 32)
        to_hidden = torch.empty_like(hidden)
        to_weight: Tensor | None = None
        loss = hidden.new_zeros(())
        for start in range(0, len(hidden), chunk):
            rows = slice(start, start + chunk)
            states, chunk_labels, chunk_shares = hidden[rows], labels[rows], shares[rows]
            logits = states @ weight.t()
            true = logits.gather(1, chunk_labels)
            top = logits.amax(1, keepdim=True)
            total = logits.sub_(top).exp_().sum(1, keepdim=True)
            loss += ((total.log() + top - true) * chunk_shares).sum()
            logit_gradient = logits.mul_(chunk_shares.sum(1, keepdim=True) / total)
            logit_gradient.scatter_add_(1, chunk_labels, -chunk_shares)
            torch.mm(logit_gradient, weight, out=to_hidden[rows])
            if needs_weight_gradient:
                to_weight = (
                    logit_gradient.t() @ states
                    if to_weight is None
                    else to_weight.addmm_(logit_gradient.t(), states)
                )
        ctx.tied, ctx.made = tied, (to_hidden, to_weight)
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor):
        if ctx.made is None:
            raise RuntimeError("this loss can be differentiated only once: its gradients are handed over")
        (to_hidden, to_weight), ctx.made = ctx.made, None
        if grad != 1:
            to_hidden.mul_(grad)
            to_weight = None if to_weight is None else to_weight.mul_(grad)
        if ctx.tied is not None:
            ctx.tied.head, to_weight = to_weight, None
        return to_hidden, to_weight, None, None, None
