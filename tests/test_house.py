"""The rules of the house, read from the source: who may import what, and how long things may be."""

import ast
from pathlib import Path

import pytest

FILES = sorted(Path("vrl").rglob("*.py"))
MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 80

# Which files may import a heavy library; everything else stays light and testable.
DOORS = {
    "vllm": {
        "vrl/rollout/engine.py",
        "vrl/rollout/judge.py",
        "vrl/rollout/extension.py",
        "vrl/rollout/llm.py",
        "vrl/weights.py",
        "vrl/parity.py",
    },
    "deepspeed": {"vrl/learner/engine.py"},
    "peft": {"vrl/learner/lora.py"},
    "ray": {
        "vrl/causes.py",
        "vrl/pool.py",
        "vrl/placement.py",
        "vrl/learner/group.py",
        "vrl/reward/judge/engines.py",
        "vrl/serve/run.py",
    },
    "decord": {"vrl/data/video.py"},
    "av": {"vrl/data/video.py", "vrl/data/toyworld.py", "vrl/doctor.py", "vrl/parity_check.py"},
    "omegaconf": {"vrl/configfile.py"},
    "prometheus_client": {"vrl/metrics.py", "vrl/observability/series.py", "vrl/observability/watch.py"},
    "openai": {"vrl/reward/judge/endpoint.py"},
    "starlette": {"vrl/serve/app.py"},
    "pydantic": {"vrl/serve/body.py"},
    "wandb": {"vrl/observability/charts.py"},
    "pyarrow": {"vrl/data/dataset.py", "vrl/report/samples.py", "vrl/evaluation/rows.py"},
}

# Imports go down only: a package may import those of a lower number.
LEVELS = (
    {"types", "errors"},
    {
        "config",
        "configcheck",
        "configfile",
        "fields",
        "metrics",
        "observability",
        "packets",
        "route",
        "tasks",
        "algo",
        "data",
        "_compat",
    },
    {"reward", "checkpoint", "weights", "report", "shapes", "costs", "causes"},
    {"rollout", "learner"},
    {"budget", "pool", "push", "placement", "run", "resume", "parity", "doctor", "learning"},
    {"driver", "export", "fleets", "plan", "inference"},
    {"session"},
    {"train", "sft", "infer", "evaluation", "serve"},
    {"cli"},
    {"__main__"},
)


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def room(module: str) -> str:
    """`vrl.data.video` and `vrl/data/video.py` -> `data`."""
    parts = module.removesuffix(".py").replace("/", ".").split(".")
    return parts[1] if len(parts) > 1 else ""


def level(name: str) -> int:
    matches = [i for i, names in enumerate(LEVELS) if name in names or name.split("_")[0] in names]
    assert matches, f"vrl/{name} has no place in the order of imports"
    return matches[0]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_heavy_libraries_come_in_by_one_door(path: Path):
    for library in {module.split(".")[0] for module in imports(path)} & DOORS.keys():
        assert str(path) in DOORS[library], f"{path} imports {library}"


@pytest.mark.parametrize("path", [p for p in FILES if p.name != "__init__.py" or p.parent.name != "vrl"], ids=str)
def test_imports_go_down(path: Path):
    here = room(str(path))
    for there in {room(module) for module in imports(path) if module.startswith("vrl.")} - {here, ""}:
        assert level(there) <= level(here), f"{path} imports vrl.{there}, which stands above it"
    if here in ("rollout", "reward", "learner"):
        others = {"rollout", "reward", "learner"} - {here}
        assert not {room(module) for module in imports(path)} & others, f"{path}: roles meet in the driver only"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_files_and_functions_stay_short(path: Path):
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{path}:{node.lineno} {node.name} has {length} lines"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_public_things_are_documented(path: Path):
    tree = ast.parse(path.read_text())
    if path.name != "__init__.py":
        assert ast.get_docstring(tree), f"{path} does not say what it does"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path}:{node.lineno} {node.name} has no docstring"
