"""Configuration fields with documentation and range, and the range check of a tree of sections.

Every helper takes `doc`: one sentence with units, shown by `vrl config --keys` and in docs/configuration.md.
"""

import copy
import math
import re
from collections.abc import Callable
from dataclasses import field, fields, is_dataclass
from typing import Any

MISSING: Any = "???"  # OmegaConf's mark for a required value


def key(default: Any, *, doc: str, wanted: str = "", check: Callable[[Any], bool] = lambda value: True) -> Any:
    """Declare a key. `wanted` describes the values that `check` accepts; by default, all values of the type."""
    metadata = {"doc": doc, "wanted": wanted, "check": check}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def path_key(default: Any, *, doc: str) -> Any:
    """Declare the path of a file or folder; `~` at its start becomes the home folder."""
    entry = key(default, doc=doc)
    return field(default=entry.default, metadata={**entry.metadata, "path": True})


def declared(schema: type, name: str) -> Any:
    """Return the dataclass field of a dotted key, or None for one that the schema lacks."""
    head, _, rest = name.partition(".")
    found = next((entry for entry in fields(schema) if entry.name == head), None)
    if found is None or not rest:
        return found
    return declared(found.type, rest) if isinstance(found.type, type) and is_dataclass(found.type) else None


def section(make: Callable[[], Any], doc: str = "") -> Any:
    """Declare a nested section: `make` is its class; `doc` defaults to the first line of the class docstring."""
    return field(default_factory=make, metadata={"doc": doc or (make.__doc__ or "").partition("\n")[0]})


def at_least(low: int, default: Any, *, doc: str) -> Any:
    """Declare a number not below `low`."""
    return key(default, doc=doc, wanted=f"at least {low}", check=lambda value: value >= low)


def above_zero(default: float, *, doc: str) -> Any:
    """Declare a positive number."""
    return key(default, doc=doc, wanted="more than 0", check=lambda value: value > 0)


def fraction(default: float, *, doc: str) -> Any:
    """Declare a number within [0, 1]."""
    return key(default, doc=doc, wanted="a number within [0, 1]", check=lambda value: 0 <= value <= 1)


def one_of(default: Any, *others: Any, doc: str) -> Any:
    """Declare a choice between the default and the others."""
    choices = (default, *others)
    return key(default, doc=doc, wanted=f"one of {choices}", check=lambda value: value in choices)


def some_of(choices: tuple[str, ...], *, doc: str) -> Any:
    """Declare a list of some of the choices, empty by default."""
    return key([], doc=doc, wanted=f"some of {choices}", check=lambda value: set(value) <= set(choices))


def band(low: int, high: int, *, doc: str) -> Any:
    """Declare two whole numbers [least, most], 0 <= least < most."""
    return key(
        [low, high],
        doc=doc,
        wanted="two whole numbers [least, most], 0 <= least < most",
        check=lambda value: len(value) == 2 and 0 <= value[0] < value[1],
    )


def run_name() -> Any:
    """Declare the required name of a run."""
    return key(
        MISSING,
        doc="Name of the run; its folder is runs_dir/name.",
        wanted="letters, digits, '.', '_' and '-' (it names the run folder)",
        check=lambda value: re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value) is not None,
    )


def out_of_range(section: Any, prefix: str = "") -> list[str]:
    """Return the range faults of a section and its nested sections, as 'key: got, wanted'."""
    problems = []
    for entry in fields(section):
        name, value = f"{prefix}{entry.name}", getattr(section, entry.name)
        if is_dataclass(value):
            problems += out_of_range(value, f"{name}.")
        elif isinstance(value, float) and not math.isfinite(value):
            problems.append(f"{name}: got {value}, wanted a finite number")
        elif not entry.metadata["check"](value):
            problems.append(f"{name}: got {value!r}, wanted {entry.metadata['wanted']}")
    return problems
