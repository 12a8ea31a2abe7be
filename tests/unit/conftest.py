"""Rules for every unit test: one torch thread, no vLLM, no Ray cluster."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


@pytest.fixture(scope="package", autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Tensors here are tiny: a second thread only spins, and costs most where the cores are busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session", autouse=True)
def no_engine_and_no_cluster(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a run of unit tests alone that imported vLLM or started Ray, by however many imports."""
    yield
    if all(HERE in item.path.parents or item.path.parent == HERE.parent for item in request.session.items):
        assert "vllm" not in sys.modules
        assert "ray" not in sys.modules or not sys.modules["ray"].is_initialized()
