"""Load a configuration from YAML files and `key=value` arguments, and print it. The only file that knows OmegaConf.

Layers, weakest first: the defaults of a schema of dataclasses, a file's `base` files, the file, then further files and
`key=value` arguments in their order. A later layer replaces single keys, and lists as a whole. All checks run on the
result, and all problems are reported together.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from vrl.config import RunConfig
from vrl.config.checks import check as check_run
from vrl.config.fields import declared
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
    layers, problems = _layers(path, overrides, schema)
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
    _expand_home(merged, schema)
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


def _layers(path: str | Path | None, words: Sequence[str], schema: type) -> tuple[list[Any], list[str]]:
    """Return the layers above the defaults, weakest first, and the words that are neither `key=value` nor a file."""
    problems: list[str] = []
    layers = _file_layers(Path(path), schema) if path is not None else []
    for word in words:
        cleaned = re.sub(r"^(--|\+{1,2})", "", word)
        if "=" not in cleaned:
            if cleaned.endswith((".yaml", ".yml")):
                layers += _file_layers(Path(cleaned), schema)
            else:
                problems.append(f"{word!r}: got no '=', wanted key=value or a YAML file")
            continue
        name, _, value = cleaned.partition("=")
        if _is_text(schema, name) and not re.fullmatch(r"""(['"]).*\1""", value):
            layers.append(_nest(name.split("."), value))  # as typed: YAML would read 001 as 1
            continue
        try:
            layers.append(OmegaConf.from_dotlist([cleaned]))
        except YAMLError as error:
            problems.append(f"{word!r}: not valid YAML after '=': {' '.join(str(error).split())}")
    return layers, problems


def _file_layers(path: Path, schema: type, above: tuple[Path, ...] = ()) -> list[Any]:
    """Return the layers of a file: those of its `base` files, then its own keys. `above`: the files that led here."""
    chain = (*above, path.resolve())
    if path.resolve() in above:
        raise ConfigError(f"config file {above[-1]}: base: got a cycle, {' -> '.join(each.name for each in chain)}")
    if not path.is_file():
        raise ConfigError(f"config file {path}: not found" + (f", base of {above[-1]}" if above else ""))
    try:
        own = OmegaConf.load(path)
        _keep_text(own, path, schema)
    except (YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"config file {path}: not valid YAML: {error}") from error
    if not isinstance(own, DictConfig):
        raise ConfigError(f"config file {path}: got a list at the top level, wanted key: value lines")
    base = own.pop("base", None) or []
    names = [base] if isinstance(base, str) else base
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"config file {path}: base: got {base!r}, wanted a YAML file or a list of them")
    return [*(layer for name in names for layer in _file_layers(path.parent / name, schema, chain)), own]


def _is_text(schema: type, name: str) -> bool:
    entry = declared(schema, name)
    return entry is not None and entry.type is str


def _keep_text(own: Any, path: Path, schema: type) -> None:
    """Give text keys the text of the file: YAML reads 001 as 1, 2024_01_05 as 20240105 and yes as true."""
    for name, written in _scalars(yaml.compose(path.read_text(), Loader=yaml.SafeLoader)):
        if _is_text(schema, name) and isinstance(OmegaConf.select(own, name), bool | int | float):
            OmegaConf.update(own, name, written)


def _scalars(node: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted key and text of each plain value in a YAML mapping."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = f"{prefix}{key.value}"
            if isinstance(value, yaml.ScalarNode):
                yield name, value.value
            else:
                yield from _scalars(value, f"{name}.")


def _expand_home(section: Any, schema: type) -> None:
    """Replace `~` at the start of paths, in place."""
    OmegaConf.set_readonly(section, False)
    for entry in fields(schema):
        if isinstance(entry.type, type) and is_dataclass(entry.type):
            _expand_home(section[entry.name], entry.type)
        elif entry.metadata.get("path") and str(section[entry.name]).startswith("~"):
            section[entry.name] = str(Path(section[entry.name]).expanduser())


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
