"""Attacks by model folders: code of their own, pickled weights, and names that lead elsewhere."""

import ast
import asyncio
import builtins
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from vrl import checkpoint
from vrl.config import DataConfig, JudgeConfig, ModelConfig, RewardConfig, RunConfig
from vrl.data.prompt import PromptBuilder
from vrl.errors import CheckpointError, ConfigError
from vrl.inference.config import BackfillConfig
from vrl.inference.retrieval import RetrievalWorker
from vrl.learner.model import load_hf_model
from vrl.lifecycle import Stop
from vrl.reward.similarity import make_similarity
from vrl.sizing.model_shape import model_shape
from vrl.training import session
from vrl.training.run_folder import RunData

LOADERS = ("from_pretrained", "from_config")
PICKLES = ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt", "weights.pth", "model.ckpt", "m.pkl"]


def calls() -> list[tuple[Path, ast.Call]]:
    """Return every call of vrl that loads something of a model folder."""
    return [
        (path, node)
        for path in Path("vrl").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOADERS
    ]


def test_every_load_says_whether_a_folders_code_may_run():
    assert len(calls()) >= 9
    allowed = ("False", "model.trust_remote_code", "config.trust_remote_code", "config.model.trust_remote_code")
    for path, call in calls():
        said = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert said.get("trust_remote_code") in allowed, (path, call.lineno)
        if "Model" in ast.unparse(call.func) and "from_pretrained" in ast.unparse(call.func):
            assert said.get("use_safetensors") == "True", (path, call.lineno)


def test_the_engine_loads_safetensors_only():
    tree = ast.parse(Path("vrl/rollout/llm.py").read_text())
    (call,) = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "AsyncEngineArgs"]
    said = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    assert said["load_format"] == "'safetensors'" and said["trust_remote_code"] == "model.trust_remote_code"


def hostile_folder(folder: Path, trophy: Path) -> Path:
    """Write a folder whose own Python code, if it ran, would create `trophy`."""
    folder.mkdir()
    code = f"open({str(trophy)!r}, 'w').close()\nclass Own: pass\nclass OwnConfig: pass\n"
    (folder / "own.py").write_text(code)
    classes = ("AutoConfig", "AutoModel", "AutoModelForImageTextToText", "AutoProcessor")
    auto = dict.fromkeys(classes, "own.Own") | {"AutoTokenizer": ["own.Own", "own.Own"], "AutoConfig": "own.OwnConfig"}
    config = {"model_type": "own_type", "auto_map": auto, "architectures": ["Own"]}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps({"auto_map": auto, "tokenizer_class": "Own"}))
    own = {"auto_map": auto, "processor_class": "Own"}
    for name in ("preprocessor_config.json", "processor_config.json"):
        (folder / name).write_text(json.dumps(own))
    (folder / "model.safetensors").write_bytes(b"")
    return folder


LOADS: dict[str, Any] = {
    "the learner": lambda path: load_hf_model(ModelConfig(path=path)),
    "the processor": lambda path: PromptBuilder(ModelConfig(path=path), DataConfig(train="x").frames, 8),
    "the plan": model_shape,
    "similarity": lambda path: make_similarity(RewardConfig(similarity="embedding", embedding_model=path)),
    "retrieval": lambda path: RetrievalWorker(BackfillConfig(encoder=path), DataConfig(train="x.parquet")),
}


@pytest.mark.parametrize("load", LOADS)
def test_the_code_of_a_model_folder_neither_runs_nor_is_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: str
):
    def agree(*_: Any) -> str:
        (tmp_path / "asked").touch()
        return "y"

    monkeypatch.setattr(builtins, "input", agree)
    folder = hostile_folder(tmp_path / "model", tmp_path / "ran")
    with pytest.raises(Exception):  # noqa: B017  (which one is the library's affair)
        LOADS[load](str(folder))
    assert not (tmp_path / "ran").exists() and not (tmp_path / "asked").exists()


@pytest.mark.parametrize("name", PICKLES)
def test_pickled_weights_are_refused(tmp_path: Path, name: str):
    (tmp_path / "config.json").write_text("{}")
    torch.save({"w": torch.zeros(1)}, tmp_path / name)
    with pytest.raises(CheckpointError, match=rf"model\.path: .* holds {name} and no safetensors, wanted weights as"):
        checkpoint.resolve_model(str(tmp_path))
    for load in ("similarity", "retrieval"):
        with pytest.raises((CheckpointError, ConfigError), match="no safetensors"):
            LOADS[load](str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert checkpoint.resolve_model(str(tmp_path)) == tmp_path  # the pickle next to them is not read


@pytest.mark.parametrize("path", ["toy/model", "./model", "../model", "toy/model.v2"])
def test_a_missing_folder_is_not_looked_for_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str):
    def download(name: str) -> str:
        raise AssertionError(f"asked the hub for {name}")

    monkeypatch.setattr(checkpoint, "snapshot_download", download)
    (tmp_path / "here" / "toy").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(CheckpointError, match=r"model\.path: got .*, which the folder .* does not hold"):
        checkpoint.resolve_model(path)
    for load, key in (("similarity", "reward.embedding_model"), ("retrieval", "strategy.backfill.encoder")):
        with pytest.raises((CheckpointError, ConfigError), match=f"{key}: got {path}, which the folder"):
            LOADS[load](path)


@pytest.mark.parametrize("problem", ["missing", "pickled"])
def test_a_run_does_not_start_with_such_a_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: str):
    (tmp_path / "toy").mkdir()
    if problem == "pickled":
        (tmp_path / "toy" / "judge").mkdir()
        (tmp_path / "toy" / "judge" / "pytorch_model.bin").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "open_data", lambda config: RunData(train=(), val=(), files={}))
    monkeypatch.setattr(session, "with_steps", lambda config, *_: config)
    monkeypatch.setattr(session, "resolve_model", lambda path: tmp_path)
    judge = JudgeConfig(kind="vllm", model="toy/judge")
    config = RunConfig(name="run", model=ModelConfig(path="m"), reward=RewardConfig(judge=judge), runs_dir="runs")

    async def start() -> None:
        async with session.open_session(config, Stop(asyncio.current_task()), kind="rl"):  # pyright: ignore[reportArgumentType]
            raise AssertionError("started")

    with pytest.raises(CheckpointError, match=r"reward\.judge\.model: .*(does not hold|no safetensors)"):
        asyncio.run(start())
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("path", ["-a/b", "a--b/c", "a/b.git", "a../b"])
def test_a_name_that_the_hub_refuses_is_an_error_of_ours(path: str):
    with pytest.raises(CheckpointError, match=r"model\.path"):
        checkpoint.resolve_model(path)
