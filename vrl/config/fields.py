"""Configuration fields that know what they want, and the check of a whole tree of them."""

import math
from dataclasses import field, fields, is_dataclass
from typing import Any

MISSING: Any = "???"  # a value that the user must give, in OmegaConf's spelling


def at_least(low: int, default: Any) -> Any:
    """A number not below `low`."""
    return field(default=default, metadata={"wanted": f"at least {low}", "check": lambda value: value >= low})


def above_zero(default: float) -> Any:
    """A positive number."""
    return field(default=default, metadata={"wanted": "more than 0", "check": lambda value: value > 0})


def fraction(default: float) -> Any:
    """A number within [0, 1]."""
    return field(default=default, metadata={"wanted": "a number within [0, 1]", "check": lambda value: 0 <= value <= 1})


def one_of(default: Any, *others: Any) -> Any:
    """The default or one of the others."""
    choices = (default, *others)
    return field(default=default, metadata={"wanted": f"one of {choices}", "check": lambda value: value in choices})


def band(low: int, high: int) -> Any:
    """Two whole numbers [least, most], 0 <= least < most."""
    return field(
        default_factory=lambda: [low, high],
        metadata={
            "wanted": "two whole numbers [least, most], 0 <= least < most",
            "check": lambda value: len(value) == 2 and 0 <= value[0] < value[1],
        },
    )


def out_of_range(section: Any, prefix: str = "") -> list[str]:
    """The checks that stand beside the fields, over all sections."""
    problems = []
    for entry in fields(section):
        key, value = f"{prefix}{entry.name}", getattr(section, entry.name)
        if is_dataclass(value):
            problems += out_of_range(value, f"{key}.")
        elif isinstance(value, float) and not math.isfinite(value):
            problems.append(f"{key}: got {value}, wanted a finite number")
        elif "check" in entry.metadata and not entry.metadata["check"](value):
            problems.append(f"{key}: got {value!r}, wanted {entry.metadata['wanted']}")
    return problems
