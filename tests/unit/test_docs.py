"""README and docs agree with the repository: links, images, commands, paths, symbols, keys and metrics exist."""

import argparse
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from vrl.cli import _parser
from vrl.config import RunConfig
from vrl.config.load import load
from vrl.evaluation.config import EvalConfig, check_eval
from vrl.inference.config import InferConfig, check_infer
from vrl.observability.catalogue import CATALOGUE, find
from vrl.reward.inputs import RewardInput
from vrl.serve.config import ServeConfig
from vrl.types import Sample

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])
CURRENT = [page for page in PAGES if page.name != "CHANGELOG.md"]  # a changelog names what is gone
FENCE = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CLASS = re.compile(r"[A-Z][a-z]+[A-Z]\w+(\.\w+)?|[A-Z]\w+\.\w+")
OTHERS = re.compile("No space left|import ")  # messages of the system and of Python
FOLDERS = "benchmarks|cluster|conf|docs|tests|vrl"
SCHEMAS = (RunConfig, EvalConfig, InferConfig, ServeConfig)


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def _code(page: Path) -> Iterator[str]:
    """Yield every fenced block and every inline code span of a page."""
    text = page.read_text()
    yield from (match[0] for match in FENCE.finditer(text))
    yield from re.findall(r"`([^`\n]+)`", _prose(page))


def _anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub and the site generator make of a page's headings."""
    headings = re.findall(r"^#+ +(.+)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def _commands(parser: argparse.ArgumentParser) -> dict[str, set[str]]:
    """Return the names of all commands, each with those of its subcommands."""
    choices = _choices(parser)
    return {name: set(_choices(command)) for name, command in choices.items()}


def _choices(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    actions = parser._actions  # argparse has no public way to list subcommands
    found = [action for action in actions if isinstance(action, argparse._SubParsersAction)]
    return dict(found[0].choices) if found else {}


def _has_key(schema: type, parts: list[str]) -> bool:
    for entry in fields(schema):
        if entry.name == parts[0]:
            inner = entry.type if isinstance(entry.type, type) else None
            return len(parts) == 1 or not (inner and is_dataclass(inner)) or _has_key(inner, parts[1:])
    return False


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 140


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_relative_links_and_anchors_resolve(page: Path) -> None:
    broken = []
    for target in LINK.findall(_prose(page)):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in _anchors(file)):
            broken.append(target)
    assert not broken


def test_images_are_small_and_used() -> None:
    images = [file for file in (ROOT / "docs" / "images").iterdir() if file.is_file()]
    used = " ".join(page.read_text() for page in PAGES)
    assert images
    assert [file.name for file in images if file.stat().st_size >= 200_000 or file.name not in used] == []


@pytest.mark.parametrize("page", CURRENT, ids=_name)
def test_commands_exist(page: Path) -> None:
    commands = _commands(_parser())
    used = {tuple(match) for code in _code(page) for match in re.findall(r"\bvrl +([a-z]+)(?: +([a-z]+)\b)?", code)}
    assert {name for name, _ in used} <= commands.keys()
    assert {inner for name, inner in used if commands[name] and inner} <= set().union(*commands.values())


@pytest.mark.parametrize("page", CURRENT, ids=_name)
def test_command_lines_parse(page: Path) -> None:
    """Every `vrl` line of a fenced block has valid options and enough arguments."""
    blocks = " \n".join(match[0] for match in FENCE.finditer(page.read_text())).replace("\\\n", " ")
    lines = [shlex.split(line, comments=True) for line in re.findall(r"^ *vrl ([a-z].*)$", blocks, re.MULTILINE)]
    for line in lines:
        args, rest = _parser().parse_known_args([word for word in line if word != ";"])
        assert "config" in vars(args) or not rest
        assert [word for word in rest if "=" not in word] == []


def test_the_configurations_of_the_tutorial_load(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(name: .*?)```", (ROOT / "docs" / "tutorial.md").read_text(), re.DOTALL)
    file = tmp_path / "config.yaml"
    for block in blocks:
        file.write_text(block)
        if "\nbenchmark:" in block:
            load(file, [], schema=EvalConfig, check=check_eval)
        elif "\nquestions:" in block:
            load(file, [], schema=InferConfig, check=check_infer)
        else:
            load(file, [])
    assert len(blocks) == 3


def test_the_examples_of_extending_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "extending.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    task, brevity = names["TASK"], names["REWARDS"]["brevity"]
    sample = Sample(sample_id="a", task=task.name, question="Is it red?", answer="yes")
    parsed = task.parse(" Yes<|im_end|>")
    assert task.well_formed(sample, parsed)
    given = RewardInput(task=task, sample=sample, duration_s=1.0, text="", parsed=parsed, finish_reason="stop")
    assert brevity(given) == 1.0


@pytest.mark.parametrize("page", CURRENT, ids=_name)
def test_paths_exist(page: Path) -> None:
    named = {path for code in _code(page) for path in re.findall(rf"(?<![\w/.-])((?:{FOLDERS})/[\w./-]*\w/?)", code)}
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", CURRENT, ids=_name)
def test_symbols_exist(page: Path) -> None:
    """A span `vrl/x.py: name` names something in that file."""
    named = [match.groups() for code in _code(page) if (match := re.fullmatch(r"(vrl/[\w/]+\.py): ([\w.]+)", code))]
    missing = [
        f"{path}: {name}"
        for path, name in named
        if not re.search(rf"\b{name.split('.')[-1]}\b", (ROOT / path).read_text())
    ]
    assert not missing


@pytest.mark.parametrize("page", CURRENT, ids=_name)
def test_classes_and_methods_exist(page: Path) -> None:
    """A span `SomeClass` or `SomeClass.member` names something in one file of vrl/ or tests/."""
    sources = [file.read_text() for folder in ("vrl", "tests") for file in (ROOT / folder).rglob("*.py")]
    spans = {code for code in _code(page) if CLASS.fullmatch(code)}
    missing = [
        span
        for span in sorted(spans)
        if not any(all(re.search(rf"\b{part}\b", source) for part in span.split(".")) for source in sources)
    ]
    assert not missing


@pytest.mark.parametrize("page", CURRENT, ids=_name)
def test_configuration_keys_exist(page: Path) -> None:
    sections = {entry.name for schema in SCHEMAS for entry in fields(schema) if is_dataclass(entry.type)}
    keys = {
        key
        for code in _code(page)
        for key in re.findall(r"(?<![\w./-])([a-z_]+(?:\.[a-z_]+)+)(?![\w/.(*])", code)
        if key.split(".")[0] in sections
    }
    assert [key for key in sorted(keys) if not any(_has_key(schema, key.split(".")) for schema in SCHEMAS)] == []


@pytest.mark.parametrize("page", CURRENT, ids=_name)
def test_metrics_exist(page: Path) -> None:
    roots = {metric.name.split("/")[0] for metric in CATALOGUE} - {"data"}  # data/ is also a folder in examples
    spans = re.findall(r"`([a-z_]+/[\w/<>]+)`", _prose(page))
    names = {re.sub("<[a-z]+>", "x", span) for span in spans if span.split("/")[0] in roots}
    unknown = []
    for name in sorted(names):
        try:
            known = find(name) is not None
        except (KeyError, ValueError):
            known = False
        if not known:
            unknown.append(name)
    assert not unknown


def test_quoted_errors_are_those_of_the_code() -> None:
    """Every message quoted in the first column of troubleshooting.md occurs in vrl/; `...` is a value."""
    joined = re.compile(r'"\s*\n\s*f?"')  # adjacent literals are one string
    source = joined.sub("", "\n".join(file.read_text() for file in (ROOT / "vrl").rglob("*.py")))
    rows = re.findall(r"^\| (.+?) \| ", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    quoted = [span for row in rows for span in re.findall(r"`([^`]+)`", row) if " " in span and not OTHERS.search(span)]
    pieces = [piece.strip() for span in quoted for piece in span.split("...") if piece.strip()]
    assert len(pieces) > 10
    assert [piece for piece in pieces if piece not in source] == []
