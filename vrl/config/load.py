"""Load a configuration from YAML files and `key=value` arguments, and print it. The only file that knows OmegaConf.

Layers, weakest first: the defaults of a schema of dataclasses, a file's `base` files, the file, then further files and
`key=value` arguments in their order. A later layer replaces single keys, and lists as a whole. All checks run on the
result, and all problems are reported together.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from vrl.config import RunConfig
from vrl.config.checks import check as check_run
from vrl.errors import ConfigError

Config = TypeVar("Config")
RENAMED = {  # key of an earlier version -> its name now
    "fault.place_s": "fault.placement_timeout_s",
    "fault.silence_s": "fault.heartbeat_timeout_s",
    "fault.heartbeat_s": "fault.heartbeat_interval_s",
}


def load(
    path: str | Path | None,
    overrides: Sequence[str] = (),
    *,
    schema: type[Config] = RunConfig,
    check: Callable[[Config], list[str]] = check_run,
) -> Config:
    """Return the configuration from the YAML file at `path` and `overrides`: `key=value`, `--key=value` or more files.

    A file may name others that it builds on, relative to itself: `base: ../base/toy_rl.yaml`, or a list of them.
    Raises ConfigError that lists every problem: unknown keys, wrong types, missing values, values out of range.
    """
    layers, problems = _layers(path, overrides)
    merged: Any = OmegaConf.structured(schema)
    for layer in layers:
        merged, faults = _merge(merged, layer)
        problems += faults
    missing = sorted(str(key) for key in OmegaConf.missing_keys(merged))
    problems += [f"{key}: missing, wanted a value ({key}=...)" for key in missing]
    for key in missing:  # a placeholder, so that the checks below see every value that was given
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
    """Return the resolved configuration as YAML, which `load` reads back to an equal one."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def _layers(path: str | Path | None, words: Sequence[str]) -> tuple[list[Any], list[str]]:
    """Return the layers above the defaults, weakest first, and the words that are neither `key=value` nor a file."""
    problems: list[str] = []
    layers = _file_layers(Path(path)) if path is not None else []
    for word in words:
        cleaned = re.sub(r"^(--|\+{1,2})", "", word)
        if "=" not in cleaned:
            if cleaned.endswith((".yaml", ".yml")):
                layers += _file_layers(Path(cleaned))
            else:
                problems.append(f"{word!r}: got no '=', wanted key=value or a YAML file")
            continue
        try:
            layers.append(OmegaConf.from_dotlist([cleaned]))
        except YAMLError as error:
            problems.append(f"{word!r}: not valid YAML after '=': {' '.join(str(error).split())}")
    return layers, problems


def _file_layers(path: Path, above: tuple[Path, ...] = ()) -> list[Any]:
    """Return the layers of a file: those of its `base` files, then its own keys. `above`: the files that led here."""
    chain = (*above, path.resolve())
    if path.resolve() in above:
        raise ConfigError(f"config file {above[-1]}: base: got a cycle, {' -> '.join(each.name for each in chain)}")
    if not path.is_file():
        raise ConfigError(f"config file {path}: not found" + (f", base of {above[-1]}" if above else ""))
    try:
        own = OmegaConf.load(path)
    except (YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"config file {path}: not valid YAML: {error}") from error
    if not isinstance(own, DictConfig):
        raise ConfigError(f"config file {path}: got a list at the top level, wanted key: value lines")
    base = own.pop("base", None) or []
    names = [base] if isinstance(base, str) else base
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"config file {path}: base: got {base!r}, wanted a YAML file or a list of them")
    return [*(layer for name in names for layer in _file_layers(path.parent / name, chain)), own]


def _merge(below: Any, layer: Any) -> tuple[Any, list[str]]:
    """Return the merge and its faults. OmegaConf stops at the first fault; then every leaf is merged separately."""
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
    """Return a nested mapping as one-key mappings, with lists kept whole."""
    plain: Any = OmegaConf.to_container(layer) if OmegaConf.is_config(layer) else layer
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
    """Return OmegaConf's message with the full key, or the new name of a key that was renamed."""
    lines = str(error).splitlines()
    key = next((line.split(":", 1)[1].strip() for line in lines if line.strip().startswith("full_key:")), "")
    if key in RENAMED:
        return f"{key}: unknown key, it was renamed to {RENAMED[key]}"
    return f"{key}: {lines[0]}" if key and key not in lines[0] else lines[0]
