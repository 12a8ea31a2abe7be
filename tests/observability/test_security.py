"""Attacks that docs/security.md says do not work."""

import ast
import os
import pickle
from pathlib import Path

import pytest
import torch

from vrl.checkpoint import Checkpoint, begin, commit, require_trusted
from vrl.config import ModelConfig
from vrl.config.load import load
from vrl.errors import CheckpointError, ConfigError

KEY = "sk-proj-0123456789abcdef"
JUDGED = ["reward.judge.kind=openai", "reward.judge.model=m"]


class Attack:
    """Runs a command when it is unpickled."""

    def __init__(self, trophy: Path) -> None:
        self.trophy = trophy

    def __reduce__(self):
        return os.mkdir, (str(self.trophy),)


def checkpoint(root: Path) -> Checkpoint:
    tmp = begin(root, 3)
    (tmp / "learner").mkdir()
    (tmp / "learner" / "state.pt").write_bytes(b"weights")
    return commit(tmp, {}, keep_last=1)


def test_a_pickle_in_a_file_of_our_own_does_not_run(tmp_path: Path):
    torch.save({"rng": Attack(tmp_path / "owned")}, tmp_path / "rng_0.pt")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "rng_0.pt", weights_only=True)
    assert not (tmp_path / "owned").exists()


def test_nothing_of_ours_unpickles():
    for path in Path("vrl").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert not {"pickle", "dill", "cloudpickle", "marshal", "shelve"} & {one.name for one in node.names}, (
                    path
                )
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "np.load", "numpy.load"):
                safe = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert safe.get("weights_only") == "True" or safe.get("allow_pickle") == "False", (path, node.lineno)


def test_a_checkpoint_that_others_could_have_written_is_refused(tmp_path: Path):
    found = checkpoint(tmp_path)
    require_trusted(found)
    (found.learner / "state.pt").chmod(0o666)
    with pytest.raises(CheckpointError, match=r"state\.pt has mode 666"):
        require_trusted(found)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_a_checkpoint_of_somebody_else_is_refused(tmp_path: Path):
    found = checkpoint(tmp_path)
    os.chown(found.learner / "state.pt", 12345, -1)
    with pytest.raises(CheckpointError, match="belongs to user 12345"):
        require_trusted(found)


@pytest.mark.parametrize(
    "overrides",
    [
        [f"reward.judge.api_key_env={KEY}", "reward.judge.base_url=http://localhost/v1"],
        [f"reward.judge.base_url=http://me:{KEY}@localhost/v1"],
        [f"reward.judge.base_url=http://localhost/v1?key={KEY}"],
    ],
)
def test_a_key_in_the_configuration_is_refused_and_not_repeated(overrides: list[str]):
    with pytest.raises(ConfigError) as refused:
        load("conf/toy/rl.yaml", [*JUDGED, *overrides])
    assert "reward.judge" in str(refused.value) and KEY not in str(refused.value)


def test_a_model_does_not_bring_its_own_code():
    assert ModelConfig(path="m").trust_remote_code is False
    assert not [path for path in Path("conf").rglob("*.yaml") if "trust_remote_code" in path.read_text()]


def test_every_example_asks_for_a_token():
    for path in Path("cluster").glob("*"):
        if path.suffix in (".yaml", ".sbatch") and path.name != "runtime_env.yaml":
            text = path.read_text()
            assert "RAY_AUTH_MODE=token" in text or "mode: token" in text, path
