"""The output of every benchmark: one JSON record {benchmark, config, hardware, versions, commit, metrics}."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

_STACK = ("torch", "transformers", "ray", "deepspeed", "decord")


def emit(benchmark: str, config: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
    """Print the record as one line on standard output."""
    import torch

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    record = {
        "benchmark": benchmark,
        "config": config,
        "hardware": {
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        },
        "versions": {name: version(name) for name in _STACK},
        "commit": commit.stdout.strip(),
        "metrics": metrics,
    }
    print(json.dumps(record))
