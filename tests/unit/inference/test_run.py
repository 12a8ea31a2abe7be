"""The last line of `vrl infer`."""

from vrl.inference.answer import Answer
from vrl.inference.predictions import Prediction
from vrl.inference.run import tally


def answered(number: int, candidates: int, latency_s: float, **stages_s: float) -> Prediction:
    trace = {"stages_s": stages_s}
    answer = Answer(num_candidates=candidates, latency_s=latency_s, trace=trace)
    return Prediction(sample_id=str(number), answer=answer)


def test_the_mean_answer_and_its_parts():
    line = tally([answered(0, 3, 1.0, prepare=0.5), answered(1, 8, 3.0, prepare=0.7, referee=1.0)])
    assert line == "2 answered with 5.50 candidates and 2.00 s each (prepare 0.60, referee 0.50)"


def test_failures_are_counted_by_reason_and_cost_nothing():
    failed = [Prediction(sample_id=str(i), failure=why) for i, why in enumerate(("media", "decode", "media"))]
    assert tally(failed) == "0 answered, 1 failed (decode), 2 failed (media)"
    assert tally([*failed, answered(9, 1, 0.5, prepare=0.5)]).startswith(
        "1 answered with 1.00 candidates and 0.50 s each"
    )
