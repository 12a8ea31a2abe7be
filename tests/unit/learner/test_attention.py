import pytest
import torch

from vrl.algo.packing import GroupSpan
from vrl.errors import LearnerError
from vrl.learner import attention
from vrl.learner.attention import grouped_attention, plan_attention

SPANS = (
    GroupSpan(start=0, prompt_length=70, completion_lengths=(5, 1, 90)),  # too long to share a batch with 5: 90, 70
    GroupSpan(start=166, prompt_length=3, completion_lengths=(4, 4)),
)
NUM_TOKENS = SPANS[-1].end
SCALE = 0.3


def visible(spans):
    """Explicit mask [N, N] of which token sees which."""
    mask = torch.zeros(NUM_TOKENS, NUM_TOKENS, dtype=torch.bool)
    for span in spans:
        segments = [(span.start, span.prompt_end)]
        for length in span.completion_lengths:
            segments.append((segments[-1][1], segments[-1][1] + length))
        for start, end in segments:
            mask[start:end, start:end] = torch.ones(end - start, end - start).tril().bool()
            mask[start:end, span.start : span.prompt_end] |= start > span.start
    return mask


def inputs(dtype=torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    query = torch.randn(1, 4, NUM_TOKENS, 8, dtype=dtype)
    key, value = torch.randn(2, 1, 2, NUM_TOKENS, 8, dtype=dtype)
    return query.requires_grad_(), key.requires_grad_(), value.requires_grad_()


def grouped(query, key, value, spans=SPANS):
    plan = plan_attention(spans, torch.device("cpu"))
    return grouped_attention(torch.nn.Identity(), query, key, value, None, scaling=SCALE, plan=plan)[0]


def dense(query, key, value):
    key, value = (x.repeat_interleave(2, dim=1) for x in (key, value))
    scores = (query @ key.transpose(-1, -2)) * SCALE
    weights = scores.masked_fill(~visible(SPANS), float("-inf")).softmax(-1)
    return (weights @ value).transpose(1, 2)


@pytest.mark.parametrize("kernel", ["flash", "plain operations"])
def test_equals_a_dense_mask_in_value_and_gradient(kernel, monkeypatch):
    if kernel == "plain operations":
        monkeypatch.setattr(attention, "_kernel", lambda q: "math")
    ours, reference = inputs(), inputs()
    weights = torch.randn(1, NUM_TOKENS, 4, 8, dtype=torch.float64)
    out, wanted = grouped(*ours), dense(*reference)
    torch.testing.assert_close(out, wanted, rtol=1e-10, atol=1e-12)
    (out * weights).sum().backward()
    (wanted * weights).sum().backward()
    for x, y in zip(ours, reference, strict=True):
        torch.testing.assert_close(x.grad, y.grad, rtol=1e-9, atol=1e-11)


def test_large_scores_do_not_overflow():
    ours, reference = inputs(), inputs()
    out, wanted = (f(*(100 * x for x in tensors)) for f, tensors in ((grouped, ours), (dense, reference)))
    torch.testing.assert_close(out, wanted, rtol=1e-8, atol=1e-9)
    out.sum().backward()
    assert all(x.grad is not None and torch.isfinite(x.grad).all() for x in ours)


def test_batches_pad_short_segments_and_cover_every_token_once():
    plan = plan_attention(SPANS, torch.device("cpu"))
    assert [(batch.num_segments, batch.length) for batch in plan.own] == [(2, 90), (5, 5)]
    rows = torch.cat([batch.rows for batch in plan.own])
    assert rows.sort().values.tolist() == list(range(NUM_TOKENS))


def test_a_mask_raises():
    with pytest.raises(LearnerError, match="mask True"):
        plan = plan_attention(SPANS, torch.device("cpu"))
        grouped_attention(torch.nn.Identity(), *inputs(), torch.ones(1), scaling=1.0, plan=plan)
