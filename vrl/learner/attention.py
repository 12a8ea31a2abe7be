"""Exact attention over a packed row whose completions share their group's prompt; registered as "grouped".

A token sees the tokens before it in its own segment (a prompt or one completion); a completion's token also sees its
whole prompt. The two parts are computed by flash kernels, each without a mask, and merged by their log-sum-exps, so no
prompt key is copied and nothing is computed twice. Backward calls the same kernels with the merged output and
log-sum-exp (the identity under ring attention, arXiv 2310.01889). Does not know tokens, positions or models.
Axes: B segments of a batch, N row tokens, S padded segment, H heads, D head size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface

from vrl.algo.packing import GroupSpan
from vrl.errors import LearnerError

GROUPED = "grouped"  # its name in transformers' attention registry
_SHORT = 64  # segments up to this length always share a batch: a kernel call costs more than the padding
_MIN_FILL = 0.75  # longer ones share a batch if each fills this fraction of it


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentBatch:
    """Segments of similar length, padded into one batch [num_segments, length]."""

    num_segments: int
    length: int
    rows: Tensor  # int64, row indices of the real tokens
    places: Tensor  # int64, their indices in the flattened batch
    start: int | None  # first row if the batch is a plain slice of the row; None if it must be gathered

    def take(self, x: Tensor) -> Tensor:
        """Gather a row tensor [N, ...] into the batch [num_segments, length, ...], padded with zeros."""
        size = self.num_segments * self.length
        if self.start is not None:
            return x[self.start : self.start + size].unflatten(0, (self.num_segments, self.length))
        padded = x.new_zeros((size, *x.shape[1:])).index_copy_(0, self.places, x.index_select(0, self.rows))
        return padded.unflatten(0, (self.num_segments, self.length))

    def put(self, out: Tensor, batch: Tensor) -> None:
        """Write a batch [num_segments, length, ...] back into the row tensor `out` [N, ...]."""
        flat = batch.flatten(0, 1)
        if self.start is not None:
            out[self.start : self.start + len(flat)] = flat
        else:
            out.index_copy_(0, self.rows, flat.index_select(0, self.places))


@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionPlan:
    """The parts of one packed row's attention; built once per row and used by every layer."""

    own: tuple[SegmentBatch, ...]  # causal within the segment; every row token is in exactly one
    shared: tuple[tuple[slice, slice], ...]  # (completion rows, prompt rows) of each group


def plan_attention(spans: Sequence[GroupSpan], device: torch.device) -> AttentionPlan:
    """Return the attention plan of a row with these groups."""
    segments = []
    for span in spans:
        segments.append((span.start, span.prompt_length))
        start = span.prompt_end
        for length in span.completion_lengths:
            segments.append((start, length))
            start += length
    return AttentionPlan(
        own=tuple(_segment_batch(batch, device) for batch in _batches(segments)),
        shared=tuple((slice(span.prompt_end, span.end), slice(span.start, span.prompt_end)) for span in spans),
    )


def grouped_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    plan: AttentionPlan,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: query [1, H, N, D], key and value [1, H_kv, N, D] to [1, N, H, D].

    `plan` is passed as a keyword of the language model's forward, so it also works under gradient checkpointing.
    """
    if attention_mask is not None or dropout != 0.0 or query.shape[0] != 1:
        raise LearnerError(
            f"grouped attention: got mask {attention_mask is not None}, dropout {dropout}, {query.shape[0]} rows, "
            "wanted no mask, no dropout (set attention_dropout to 0 in the model's config) and one packed row"
        )
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    return _GroupedAttention.apply(q, k, v, plan, scaling)[None], None


AttentionInterface.register(GROUPED, grouped_attention)  # without a mask function: transformers then builds no mask


class _GroupedAttention(torch.autograd.Function):
    """q [N, H, D], k and v [N, H_kv, D] to [N, H, D]."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, plan: AttentionPlan, scale: float) -> Tensor:
        out, lse = torch.empty_like(q), q.new_empty(q.shape[:2], dtype=torch.promote_types(q.dtype, torch.float32))
        for batch in plan.own:
            part, part_lse = _attend(batch.take(q), batch.take(k), batch.take(v), causal=True, scale=scale)
            batch.put(out, part)
            batch.put(lse, part_lse)
        for rows, keys in plan.shared:
            part, part_lse = _attend(q[None, rows], k[None, keys], v[None, keys], causal=False, scale=scale)
            total = torch.logaddexp(lse[rows], part_lse[0])
            own_weight, shared_weight = torch.exp(lse[rows] - total), torch.exp(part_lse[0] - total)
            out[rows] = (out[rows] * own_weight[..., None] + part[0] * shared_weight[..., None]).to(out.dtype)
            lse[rows] = total
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.plan, ctx.scale = plan, scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q, k, v, out, lse = ctx.saved_tensors
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for batch in ctx.plan.own:
            tensors = (batch.take(x) for x in (grads[0], q, k, v, out, lse))
            for grad, part in zip((dq, dk, dv), _attend_backward(*tensors, causal=True, scale=ctx.scale), strict=True):
                batch.put(grad, part)
        for rows, keys in ctx.plan.shared:
            places = (rows, rows, keys, keys, rows, rows)
            tensors = (x[None, at] for x, at in zip((grads[0], q, k, v, out, lse), places, strict=True))
            part_dq, part_dk, part_dv = _attend_backward(*tensors, causal=False, scale=ctx.scale)
            dq[rows] += part_dq[0]
            dk[keys] += part_dk[0]
            dv[keys] += part_dv[0]
        return dq, dk, dv, None, None


def _attend(q: Tensor, k: Tensor, v: Tensor, *, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
    """Map q [B, S, H, D], k and v [B, S_k, H_kv, D] to the output [B, S, H, D] and its log-sum-exp [B, S, H]."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    if (kernel := _kernel(q)) == "cpu":
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, scale=scale)
    elif kernel == "cuda":
        out, lse, *_ = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, 0.0, causal, False, scale=scale)
    else:
        out, lse = _math(q, k, v, causal, scale)
    return out.transpose(1, 2), lse.transpose(1, 2)


def _attend_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, *, causal: bool, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of one part's q, k and v, given the merged output and log-sum-exp of all parts."""
    grad, q, k, v, out, lse = (x.transpose(1, 2) for x in (grad, q, k, v, out, lse))
    if (kernel := _kernel(q)) == "cpu":
        backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
        grads = backward(grad, q, k, v, out, lse, 0.0, causal, scale=scale)
    elif kernel == "cuda":
        none, seed = q.new_empty(0), torch.zeros(2, dtype=torch.uint64, device=q.device)  # read with dropout only
        backward = torch.ops.aten._scaled_dot_product_flash_attention_backward
        sizes = (q.shape[2], k.shape[2])
        grads = backward(grad, q, k, v, out, lse.contiguous(), None, None, *sizes, 0.0, causal, seed, none, scale=scale)
    else:
        grads = _math_backward(grad, q, k, v, out, lse, causal, scale)
    dq, dk, dv = grads
    return dq.transpose(1, 2), dk.transpose(1, 2), dv.transpose(1, 2)


def _kernel(q: Tensor) -> str:
    """Return the flash kernel for this tensor, "cpu" or "cuda"; "math" if there is none."""
    if q.device.type == "cuda" and (q.dtype not in (torch.bfloat16, torch.float16) or q.shape[-1] > 256):
        return "math"
    return q.device.type


def _math(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
    """Compute `_attend` in plain operations, quadratic in memory: for float32 on a GPU, which has no flash kernel."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    scores = _scores(q, k, causal, scale)
    lse = torch.logsumexp(scores, dim=-1)
    return torch.exp(scores - lse[..., None]).to(v.dtype) @ v, lse


def _math_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    kv_heads = k.shape[1]
    k, v = (x.repeat_interleave(q.shape[1] // kv_heads, dim=1) for x in (k, v))
    weights = torch.exp(_scores(q, k, causal, scale) - lse[..., None])
    dv = weights.to(grad.dtype).transpose(-1, -2) @ grad
    dscores = weights * (grad @ v.transpose(-1, -2) - (grad * out).sum(-1, keepdim=True)) * scale
    dk = dscores.to(q.dtype).transpose(-1, -2) @ q
    dk, dv = (x.unflatten(1, (kv_heads, -1)).sum(2) for x in (dk, dv))
    return dscores.to(k.dtype) @ k, dk, dv


def _scores(q: Tensor, k: Tensor, causal: bool, scale: float) -> Tensor:
    scores = (q @ k.transpose(-1, -2)).to(torch.promote_types(q.dtype, torch.float32)) * scale
    if causal:
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(hidden, float("-inf"))
    return scores


def _batches(segments: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Sort segments (start, length) into batches of similar length, the longest first."""
    batches: list[list[tuple[int, int]]] = []
    for segment in sorted(segments, key=lambda segment: (-segment[1], segment[0])):
        longest = batches[-1][0][1] if batches else 0
        if batches and (segment[1] >= _MIN_FILL * longest or longest <= _SHORT):
            batches[-1].append(segment)
        else:
            batches.append([segment])
    return batches


def _segment_batch(segments: list[tuple[int, int]], device: torch.device) -> SegmentBatch:
    length = segments[0][1]
    starts = [start for start, _ in segments]
    is_slice = all(own == length for _, own in segments) and starts == list(
        range(starts[0], starts[0] + length * len(starts), length)
    )
    rows = [torch.arange(start, start + own) for start, own in segments]
    places = [torch.arange(i * length, i * length + own) for i, (_, own) in enumerate(segments)]
    return SegmentBatch(
        num_segments=len(segments),
        length=length,
        rows=torch.cat(rows).to(device),
        places=torch.cat(places).to(device),
        start=starts[0] if is_slice else None,
    )
