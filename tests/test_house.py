"""The rules of the house, read from the source: who may import what, how long things may be, what is documented.

Every test lists all faults at once.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

SOURCES = {path: ast.parse(path.read_text()) for path in sorted(Path("vrl").rglob("*.py"))}
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_TOP_MODULES = 400, 80, 10

# Folders and top-level modules from the bottom up: each imports only from those before it.
ORDER = [
    "types",
    "errors",
    "files",
    "network",
    "ownership",
    "_compat",
    "config",
    "tasks",
    "algo",
    "checkpoint",
    "weights",
    "observability",
    "data",
    "report",
    "reward",
    "actors",
    "rollout",
    "lifecycle",
    "toyworld",
    "sizing",
    "learner",
    "doctor",
    "inference",
    "evaluation",
    "serve",
    "parity",
    "training",
    "reference",
    "cli",
    "__main__",
]
ROLES = {"rollout", "reward", "learner"}  # they meet in the driver only

# The only files that may import a heavy library; everything else stays light and testable.
DOORS = {
    "vllm": {
        "vrl/rollout/engine.py",
        "vrl/rollout/judge.py",
        "vrl/rollout/extension.py",
        "vrl/rollout/llm.py",
        "vrl/weights/sender.py",
        "vrl/weights/receiver.py",
        "vrl/parity/gate.py",
    },
    "deepspeed": {"vrl/learner/engine.py"},
    "peft": {"vrl/learner/lora.py"},
    "ray": {
        "vrl/actors/ray_errors.py",
        "vrl/actors/pool.py",
        "vrl/actors/placement.py",
        "vrl/learner/group.py",
        "vrl/reward/judge/engines.py",
        "vrl/serve/run.py",
    },
    "decord": {"vrl/data/decode/video.py"},
    "av": {"vrl/data/decode/video.py", "vrl/toyworld/world.py", "vrl/doctor.py", "vrl/parity/checkpoint.py"},
    "omegaconf": {"vrl/config/load.py"},
    "prometheus_client": {
        "vrl/observability/run_log.py",
        "vrl/observability/series.py",
        "vrl/observability/telemetry.py",
    },
    "grafana_foundation_sdk": {"vrl/observability/dashboards.py"},
    "httpx": {"vrl/reward/judge/endpoint.py"},
    "starlette": {"vrl/serve/app.py"},
    "pydantic": {"vrl/serve/request.py"},
    "wandb": {"vrl/observability/charts.py"},
    "pyarrow": {"vrl/data/dataset.py", "vrl/data/rows/source.py", "vrl/report/samples.py"},
}

# Phrases that mark a word-for-word translation.
BANNED_IDIOMS = (
    *("whoever", "whatever", "nobody", "beside", "by itself", "so many", "as it is", "mend", "mended", "mends"),
    *("has gone", "in the words of", "goes on", "went on", "comes to be", "there is to be", "look after", "at once"),
    *("looks after", "else would", "all the same", "stays dead", "comes alone", "for ever", "is had", "can be had"),
    *("to be had", "could not be had", "it is told"),
)
PROSE = ("vrl", "tests", "docs", "conf", "cluster", "benchmarks")


def imports(tree: ast.Module) -> Iterator[str]:
    """Full names of the modules that a file imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def room(path: Path) -> str:
    """`vrl/data/decode/video.py` -> `data`, `vrl/cli.py` -> `cli`."""
    return path.with_suffix("").parts[1]


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_heavy_libraries_come_in_by_one_door():
    assert not [
        f"{path} imports {library}"
        for path, tree in SOURCES.items()
        for library in {name.split(".")[0] for name in imports(tree)} & DOORS.keys()
        if str(path) not in DOORS[library]
    ]
    assert not [path for paths in DOORS.values() for path in paths if Path(path) not in SOURCES]


def test_unit_tests_use_no_ray_and_no_vllm():
    """`ray.exceptions` holds plain classes, which a test may raise; tests/unit/conftest.py checks indirect imports."""
    assert not [
        f"{path} imports {name}"
        for path in sorted(Path("tests/unit").rglob("*.py"))
        for name in imports(ast.parse(path.read_text()))
        if name.split(".")[0] in ("ray", "vllm") and name != "ray.exceptions"
    ]


def test_imports_go_down():
    faults = []
    for path, tree in SOURCES.items():
        here = room(path)
        there = {name.split(".")[1] for name in imports(tree) if name.startswith("vrl.")} - {here}
        if here != "__init__":
            faults += [f"{path} imports vrl.{name}" for name in there if ORDER.index(name) > ORDER.index(here)]
        if here in ROLES:
            faults += [f"{path} imports vrl.{name}: roles meet in the driver only" for name in there & ROLES]
    assert not faults


def test_files_and_functions_stay_short():
    assert not [path for path in SOURCES if len(path.read_text().splitlines()) > MAX_FILE_LINES]
    assert not [
        f"{path}:{node.lineno} {node.name}"
        for path, tree in SOURCES.items()
        for node in functions(tree)
        if (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION_LINES
    ]
    top = [path for path in Path("vrl").glob("*.py") if not path.name.startswith("__")]
    assert len(top) <= MAX_TOP_MODULES


def test_public_things_are_documented():
    faults = [path for path, tree in SOURCES.items() if path.name != "__init__.py" and not ast.get_docstring(tree)]
    faults += [
        f"{path}:{node.lineno} {node.name}"
        for path, tree in SOURCES.items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if not node.name.startswith("_") and not ast.get_docstring(node)
    ]
    assert not faults


def test_prose_uses_no_banned_idioms():
    """An underscore counts as a space, so names of functions and tests are read too."""
    banned = re.compile(rf"\b({'|'.join(BANNED_IDIOMS)})\b".replace(" ", r"\s+"), re.IGNORECASE)
    suffixes = (".py", ".md", ".yaml", ".yml", ".sbatch")
    paths = [path for folder in PROSE for path in Path(folder).rglob("*")]
    paths = [path for path in (*paths, *Path().glob("*.md")) if path.suffix in suffixes] + [Path("Makefile")]
    faults = [
        f"{path}:{text.count(chr(10), 0, match.start()) + 1} {match[0]}"
        for path in sorted({*paths} - {Path("tests/test_house.py")})  # which holds the phrases
        for text in [path.read_text().replace("_", " ")]
        for match in banned.finditer(text)
    ]
    assert not faults, "\n".join(faults)
