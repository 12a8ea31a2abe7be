"""The workaround that lets a CUDA build of torchvision import on a CPU-only torch, and a test of when to delete it."""

import os
import subprocess
import sys

import pytest
import torch

pytestmark = pytest.mark.skipif(
    bool(torch.version.cuda or torch.version.hip), reason="the workaround acts on a CPU-only torch"
)


def import_torchvision(**env: str) -> subprocess.CompletedProcess:
    code = "import torch, torchvision; from torchvision.transforms import v2; print(torchvision.__version__)"
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **env}, capture_output=True, text=True, check=False
    )


def test_torchvision_imports_in_a_fresh_process():
    done = import_torchvision()
    assert done.returncode == 0, done.stderr


def test_the_workaround_is_still_needed():
    """When this fails, torchvision guards its own registration: delete vrl/_compat and its entry point."""
    done = import_torchvision(TORCH_DEVICE_BACKEND_AUTOLOAD="0")
    if "+cpu" in done.stdout:
        pytest.skip("a CPU build of torchvision brings its own operators")
    assert "torchvision::nms does not exist" in done.stderr
