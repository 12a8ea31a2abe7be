import json
from pathlib import Path

import pytest

from vrl.checkpoint import begin, commit
from vrl.config import RunConfig
from vrl.errors import CheckpointError
from vrl.training.export import export


def finished_run(folder: Path) -> Path:
    tmp = begin(folder / "checkpoints", 7)
    (tmp / "hf").mkdir()
    (tmp / "hf" / "config.json").write_text("{}")
    commit(tmp, {}, keep_last=1)
    return folder


def test_a_finished_run_is_copied_once(tmp_path: Path):
    run = finished_run(tmp_path / "run")
    assert export(RunConfig(), run, tmp_path / "new" / "out").step == 7
    assert json.loads((tmp_path / "new" / "out" / "config.json").read_text()) == {}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]
    with pytest.raises(CheckpointError, match="out, which exists"):
        export(RunConfig(), run, tmp_path / "new" / "out")


def test_what_an_interrupted_export_left_is_replaced(tmp_path: Path):
    (tmp_path / "out.tmp").mkdir()
    (tmp_path / "out.tmp" / "stale").touch()
    export(RunConfig(), finished_run(tmp_path / "run"), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["config.json"]


def test_a_run_without_checkpoints_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match="holds no checkpoint that verifies"):
        export(RunConfig(), tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
