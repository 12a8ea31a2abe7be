"""Steps that are not finite, with real DeepSpeed ranks: dropped on all ranks without a trace."""

from pathlib import Path

import pytest
from support.fault_cases import skip
from support.learner_cases import run_ranks

from vrl.toyworld.model import build_family

pytestmark = pytest.mark.timeout(300)
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharp") / "qwen2_vl"
    build_family(folder, "qwen2_vl", sharp=True)
    return folder


@pytest.mark.parametrize(
    ("ranks", "zero_stage", "dtype"),
    [
        (1, 0, "float32"),
        pytest.param(2, 3, "float32", marks=slow),
        pytest.param(2, 2, "float32", marks=slow),
        pytest.param(2, 0, "float32", marks=slow),
        pytest.param(1, 2, "float32", marks=slow),
        pytest.param(1, 3, "float32", marks=slow),
        pytest.param(2, 1, "float32", marks=slow),
        pytest.param(2, 1, "bfloat16", marks=slow),
        pytest.param(2, 2, "bfloat16", marks=slow),
        pytest.param(2, 3, "bfloat16", marks=slow),
    ],
)
def test_a_step_that_is_not_finite_leaves_no_trace(checkpoint, tmp_path, ranks: int, zero_stage: int, dtype: str):
    settings = {"zero_stage": zero_stage, "micro_batch_tokens": 150, "max_nonfinite_steps": 3}
    for found in run_ranks(skip, ranks, checkpoint, settings, dtype, tmp_path):
        assert found["first"].applied and found["first"].updates == 1
        dropped = found["dropped"]
        assert (dropped.applied, dropped.updates, dropped.nonfinite_steps) == (False, 1, 1)
        assert found["after"] == found["before"] and found["same_moments"]
        assert found["with_fault"] == found["without_fault"] != found["before"]
        assert found["second"].grad_norm == found["second_again"].grad_norm
        assert (found["second"].updates, found["second"].nonfinite_steps) == (2, 1)
        assert found["row"] == [False, False]
        assert "3 times in a row" in found["error"] and "after 2 optimizer steps" in found["error"]
        assert found["end"] == found["without_fault"]
