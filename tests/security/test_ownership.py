"""Attacks on files: checkpoints and model folders that others could have written, and exports that publish too much."""

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

from vrl import checkpoint
from vrl.config import ModelConfig, RunConfig
from vrl.errors import CheckpointError
from vrl.ownership import copy_model, require_publishable
from vrl.training.export import export
from vrl.training.run_folder import open_run

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
STRANGER = 12345


def save(run: Path, step: int = 3) -> checkpoint.Checkpoint:
    """Commit a checkpoint with learner state and a small model folder."""
    tmp = checkpoint.begin(run / "checkpoints", step)
    (tmp / "learner").mkdir()
    (tmp / "learner" / "state.pt").write_bytes(b"weights")
    (tmp / "hf").mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp / "hf" / name).write_text("{}")
    return checkpoint.commit(tmp, {"n": step}, keep_last=2)


def chmod(name: str, mode: int) -> Callable[[Path], object]:
    return lambda path: (path / name).chmod(mode)


def add(name: str) -> Callable[[Path], object]:
    return lambda path: (path / name).write_bytes(b"x")


def replace_by_link(path: Path) -> None:
    file = path / "learner" / "state.pt"
    elsewhere = path.parent / "elsewhere.pt"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)


def move_behind_link(path: Path) -> None:
    path.rename(path.parent / "moved")
    path.symlink_to("moved")


def listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path / "socket"))


CHECKPOINTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a file that all may write": (chmod("learner/state.pt", 0o646), "state.pt has mode 646"),
    "a file that a group may write": (chmod("learner/state.pt", 0o664), "state.pt has mode 664"),
    "a folder that all may write": (chmod("learner", 0o757), "learner has mode 757"),
    "a folder that a group may write": (chmod("learner", 0o775), "learner has mode 775"),
    "a manifest that a group may write": (chmod("manifest.json", 0o664), "manifest.json has mode 664"),
    "the checkpoint itself": (chmod(".", 0o777), "step_000003 has mode 777"),
    "its parent, by all": (lambda path: path.parent.chmod(0o777), "parent folder .*checkpoints is writable"),
    "its parent, by a group": (lambda path: path.parent.chmod(0o775), "parent folder .*chmod g-w"),
    "the run folder, by all": (lambda path: path.parents[1].chmod(0o777), "parent folder .*run is writable"),
    "a file behind a link": (replace_by_link, r"learner/state\.pt is a link"),
    "a link more": (lambda path: (path / "learner" / "more.pt").symlink_to("state.pt"), r"more\.pt is a link"),
    "a broken link": (lambda path: (path / "gone").symlink_to("/nowhere"), "gone is a link"),
    "a folder behind a link": (lambda path: (path / "learner" / "d").symlink_to("/tmp"), "learner/d is a link"),
    "the checkpoint behind a link": (move_behind_link, "step_000003 is a link"),
    "a pickle more": (add("learner/mp_rank_01_model_states.pt"), "is not listed in its manifest"),
    "a hidden file more": (add(".hidden.pt"), r"\.hidden\.pt is not listed"),
    "a file more in hf": (add("hf/modeling.py"), "hf/modeling.py is not listed"),
    "a pipe": (lambda path: os.mkfifo(path / "pipe"), "pipe is no regular file"),
    "a socket": (listen, "socket is no regular file"),
}
STRANGERS = {
    "a file": ("learner/state.pt", r"state\.pt belongs to user 12345"),
    "a folder": ("learner", "learner belongs to user 12345"),
    "the manifest": ("manifest.json", r"manifest\.json belongs to user 12345"),
    "all of it": (".", "step_000003 belongs to user 12345"),
}
ATTACKS = CHECKPOINTS | {
    f"{name} of another user": (lambda path, file=file: os.chown(path / file, STRANGER, -1), match)
    for name, (file, match) in STRANGERS.items()
}


@pytest.mark.parametrize("attack", [pytest.param(name, marks=as_root if "user" in name else ()) for name in ATTACKS])
def test_a_checkpoint_that_others_could_have_written_is_neither_resumed_nor_exported(tmp_path: Path, attack: str):
    run = tmp_path / "run"
    do, match = ATTACKS[attack]
    config = RunConfig(name="run", runs_dir=str(tmp_path), resume="auto", model=ModelConfig(path="m"))
    found = save(run)
    assert open_run(config) is not None  # ours is accepted
    do(found.path)
    with pytest.raises(CheckpointError, match=match):
        open_run(config)
    with pytest.raises(CheckpointError, match=match):
        export(config, run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_is_our_own_under_a_loose_umask(tmp_path: Path):
    before = os.umask(0o002)
    try:
        found = save(tmp_path / "run")
    finally:
        os.umask(before)
    checkpoint.require_trusted(found)


def test_a_parent_where_each_may_only_move_own_files_is_accepted(tmp_path: Path):
    found = save(tmp_path / "run")
    found.path.parent.chmod(0o1777)
    checkpoint.require_trusted(found)


def test_a_run_whose_configuration_others_could_have_written_is_not_exported(tmp_path: Path):
    save(tmp_path / "run")
    (tmp_path / "run" / "config.yaml").write_text("model: {path: m, trust_remote_code: true}")
    (tmp_path / "run" / "config.yaml").chmod(0o666)
    with pytest.raises(CheckpointError, match=r"config\.yaml has mode 666"):
        export(RunConfig(name="run", model=ModelConfig(path="m")), tmp_path / "run", tmp_path / "out")


MANIFESTS = {
    "an empty file": "",
    "no JSON": "{",
    "bytes": "\udcff\udcfe",
    "null": "null",
    "a list": "[]",
    "a number": "7",
    "files as a list": '{"step": 2, "files": []}',
    "files as text": '{"step": 2, "files": "driver.json"}',
    "files as null": '{"step": 2, "files": null}',
    "no files": '{"step": 2, "files": {}}',
    "no step": '{"files": {"driver.json": {}}}',
    "a step as text": '{"step": "2", "files": {"driver.json": {}}}',
    "a step as truth": '{"step": true, "files": {"driver.json": {}}}',
    "a negative step": '{"step": -2, "files": {"driver.json": {}}}',
    "another step": '{"step": 900, "files": {"driver.json": {}}}',
    "a step of 5000 digits": '{"step": %s, "files": {"driver.json": {}}}' % ("9" * 5000),
    "a depth bomb": "[" * 100_000,
    "a file outside": '{"step": 2, "files": {"driver.json": {}, "../../secret": {}}}',
    "an absolute file": '{"step": 2, "files": {"driver.json": {}, "/etc/passwd": {}}}',
    "a zero byte": '{"step": 2, "files": {"driver.json": {}, "a\\u0000b": {}}}',
    "a name of 5000 letters": '{"step": 2, "files": {"driver.json": {}, "%s": {}}}' % ("a" * 5000),
    "a surrogate": '{"step": 2, "files": {"driver.json": {}, "\\ud800": {}}}',
    "descriptions of another form": '{"step": 2, "files": {"driver.json": [1, 2]}}',
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_malformed_manifest_is_a_damaged_checkpoint(tmp_path: Path, name: str):
    save(tmp_path, 1)
    bad = save(tmp_path, 2)
    (bad.path / "manifest.json").write_bytes(MANIFESTS[name].encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match="checkpoint "):
        checkpoint.read(bad.path)
    found = checkpoint.newest(tmp_path / "checkpoints")
    assert found is not None and found.step == 1


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "1" * 5000, "[" * 100_000, '{"a": "\\udcff"}\udcff'])
def test_a_torn_driver_file_is_a_damaged_checkpoint_even_if_the_manifest_agrees(tmp_path: Path, text: str):
    save(tmp_path, 1)
    bad = save(tmp_path, 2)
    (bad.path / "driver.json").write_bytes(text.encode(errors="surrogateescape"))
    manifest = json.loads((bad.path / "manifest.json").read_text())
    manifest["files"]["driver.json"] = checkpoint._describe(bad.path / "driver.json")
    (bad.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"driver\.json"):
        checkpoint.read(bad.path)
    found = checkpoint.newest(tmp_path / "checkpoints")
    assert found is not None and found.step == 1


def model_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("config.json", "model-00001-of-00002.safetensors", "tokenizer.json", "merges.txt", "LICENSE"):
        (folder / name).write_text(name)
    return folder


UNPUBLISHED = [
    *("README.md", "modeling.py", "weights.pkl", "pytorch_model.bin", "optimizer.pt", ".env", "id_rsa", "token"),
    *("notes.json", "config.json.bak", "tokenizer.json~", "adapter_model.safetensors", "model.safetensors.py"),
]


@pytest.mark.parametrize("name", UNPUBLISHED)
@pytest.mark.parametrize("link", [False, True])
def test_an_export_publishes_only_files_of_a_model(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, link: bool
):
    folder = model_folder(tmp_path / "model")
    (tmp_path / "secret").write_text("secret")
    if link:
        (folder / name).symlink_to(tmp_path / "secret")
    else:
        shutil.copyfile(tmp_path / "secret", folder / name)
    (folder / "private").mkdir()
    (tmp_path / "out").mkdir()
    copy_model(folder, tmp_path / "out", weights=True)
    wanted = ["LICENSE", "config.json", "merges.txt", "model-00001-of-00002.safetensors", "tokenizer.json"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == wanted
    assert name in caplog.text  # said, not silently left out


@pytest.mark.parametrize("target", ["../secret", "/etc/passwd", "../model-2/config.json", "/nowhere", "/tmp", "loop"])
@pytest.mark.parametrize("name", ["tokenizer.json", "LICENSE.md", "chat_template.jinja"])
def test_a_link_out_of_the_model_folder_is_not_published(tmp_path: Path, name: str, target: str):
    folder = model_folder(tmp_path / "model")
    model_folder(tmp_path / "model-2")
    (tmp_path / "secret").write_text("secret")
    (folder / "loop").symlink_to("loop")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(target)
    (tmp_path / "out").mkdir()
    with pytest.raises(CheckpointError, match=f"export: .*{name} leads to"):
        copy_model(folder, tmp_path / "out", weights=False)
    assert not (tmp_path / "out" / name).exists()
    with pytest.raises(CheckpointError, match=f"export: .*{name} leads to"):  # before a run starts
        require_publishable(folder)


def test_links_within_the_folder_and_the_hub_cache_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for place, cache in (("hub", tmp_path / "hub"), ("copied", tmp_path / "elsewhere")):
        folder = model_folder(cache / "models--owner--model" / "snapshots" / "rev")
        blobs = folder.parents[1] / "blobs"
        blobs.mkdir()
        for file in list(folder.iterdir()):
            file.rename(blobs / f"blob-{file.name}")
            file.symlink_to(f"../../blobs/blob-{file.name}")
        (folder / "vocab.json").symlink_to("tokenizer.json")
        (tmp_path / place / "out").mkdir(parents=True, exist_ok=True)
        copy_model(folder, tmp_path / place / "out", weights=True)
        assert (tmp_path / place / "out" / "vocab.json").read_text() == "tokenizer.json"
        assert not any(file.is_symlink() for file in (tmp_path / place / "out").iterdir())
