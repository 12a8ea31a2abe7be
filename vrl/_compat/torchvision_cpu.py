"""Lets the registry's CUDA build of torchvision import on a CPU-only torch.

torchvision registers fake kernels for `nms` and `qnms` without asking whether its compiled operators loaded. On a
CPU-only torch they did not, and `import torchvision` raises. torch calls `register` (entry point `torch.backends`) at
the end of `import torch`, in every process: it declares the two operators, and only where they are missing.

Does nothing on CUDA or ROCm builds of torch, nor with a CPU build of torchvision, which brings its own operators.
"""

import importlib.util
import pathlib
import re
from typing import Any

_library: Any = None  # kept alive: dropping a torch Library removes what it defined


def register() -> None:
    """Declare torchvision's `nms` and `qnms` where a CUDA torchvision meets a CPU-only torch. Never raises."""
    global _library
    try:
        import torch

        if torch.version.cuda or torch.version.hip:
            return
        spec = importlib.util.find_spec("torchvision")  # locates without importing
        if spec is None or spec.origin is None:
            return
        version = (pathlib.Path(spec.origin).parent / "version.py").read_text()
        if not re.search(r"__version__ = '[^']*\+cu\d+'", version):
            return
        library = torch.library.Library("torchvision", "FRAGMENT")
        for op in ("nms", "qnms"):
            library.define(f"{op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _library = library
    except Exception:  # an exception here would break `import torch` for every user of the environment
        pass
