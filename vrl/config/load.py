"""A configuration from a YAML file and `key=value` arguments, and back to YAML. The only file that knows OmegaConf.

Three merges, strongest last: a schema of dataclasses (vrl.config's), the file, the arguments. Then all checks run, and
every problem is reported at once.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from vrl.config import RunConfig
from vrl.config.checks import check as check_run
from vrl.errors import ConfigError

Config = TypeVar("Config")


def load(
    path: str | Path | None,
    overrides: Sequence[str] = (),
    *,
    schema: type[Config] = RunConfig,
    check: Callable[[Config], list[str]] = check_run,
) -> Config:
    """Merge the schema's defaults, the YAML file at `path` and `key=value` overrides (`--key=value` too), then check.

    Raises ConfigError that lists every problem: unknown keys, wrong types, missing values, values out of range.
    """
    layers, problems = _read(path, overrides)
    merged: Any = OmegaConf.structured(schema)
    for layer in layers:
        merged, faults = _merge(merged, layer)
        problems += faults
    missing = sorted(str(key) for key in OmegaConf.missing_keys(merged))
    problems += [f"{key}: missing, wanted a value ({key}=...)" for key in missing]
    for key in missing:  # stands in, so that the checks below see all that was given
        section: Any = OmegaConf.select(merged, key.rpartition(".")[0]) if "." in key else merged
        OmegaConf.set_readonly(section, False)
        section[key.rpartition(".")[2]] = "missing"
    try:
        config = cast(Config, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        raise ConfigError(*problems, _first_line(error)) from error
    problems += check(config)
    if problems:
        raise ConfigError(*problems)
    return config


def as_yaml(config: Any) -> str:
    """The resolved configuration as YAML: `load` reads it back to an equal one."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def _read(path: str | Path | None, overrides: Sequence[str]) -> tuple[list[Any], list[str]]:
    """The layers above the defaults, weakest first, and what is wrong with the arguments' form."""
    problems: list[str] = []
    layers: list[Any] = []
    if path is not None:
        if not Path(path).is_file():
            raise ConfigError(f"config file {path}: not found")
        try:
            layers.append(OmegaConf.load(path))
        except (YAMLError, OmegaConfBaseException) as error:
            raise ConfigError(f"config file {path}: not valid YAML: {error}") from error
    for override in overrides:
        cleaned = re.sub(r"^(--|\+{1,2})", "", override)
        if "=" not in cleaned:
            problems.append(f"{override!r}: got no '=', wanted key=value")
            continue
        try:
            layers.append(OmegaConf.from_dotlist([cleaned]))
        except YAMLError as error:
            problems.append(f"{override!r}: not valid YAML after '=': {' '.join(str(error).split())}")
    return layers, problems


def _merge(below: Any, layer: Any) -> tuple[Any, list[str]]:
    """The layer over what is below it, and its faults. A merge stops at its first: then it is done leaf by leaf."""
    faults = []
    try:
        return OmegaConf.merge(below, layer), faults
    except OmegaConfBaseException:
        for leaf in _leaves(layer):
            try:
                below = OmegaConf.merge(below, leaf)
            except OmegaConfBaseException as error:
                faults.append(_first_line(error))
    return below, faults


def _leaves(layer: Any, prefix: str = "") -> list[Any]:
    """A nested mapping as one-key mappings, lists kept whole."""
    plain = OmegaConf.to_container(layer) if OmegaConf.is_config(layer) else layer
    if not isinstance(plain, dict):
        raise ConfigError(f"config: got a {type(plain).__name__} at the top level, wanted key: value lines")
    pieces = []
    for key, value in plain.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            pieces += _leaves(value, f"{name}.")
        else:
            pieces.append(_nest(name.split("."), value))
    return pieces


def _nest(keys: list[str], value: Any) -> dict[str, Any]:
    return {keys[0]: _nest(keys[1:], value) if len(keys) > 1 else value}


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    key = next((line.split(":", 1)[1].strip() for line in lines if line.strip().startswith("full_key:")), "")
    return f"{key}: {lines[0]}" if key and key not in lines[0] else lines[0]
