"""Attacks on secrets in files and in the environment."""

import os
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from vrl.doctor import check_ray_auth
from vrl.errors import ConfigError
from vrl.lifecycle import guard_private_ray
from vrl.ownership import make_private
from vrl.serve.clips import clip_path
from vrl.serve.config import UPLOADS, ServeConfig
from vrl.serve.token import read_token

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
SECRET = "0123456789abcdefghij"


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "vrl-serve.token"
    path.write_text(SECRET + "\n")
    path.chmod(0o600)
    return path


def test_a_private_file_of_our_own_is_read(token: Path):
    assert read_token(token) == SECRET
    token.chmod(0o400)
    assert read_token(token) == SECRET


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o666, 0o777])
def test_a_token_file_that_others_reach_is_refused(token: Path, mode: int):
    token.chmod(mode)
    with pytest.raises(ConfigError, match=f"has mode {mode:o}, which lets others read it, wanted chmod go-rwx") as got:
        read_token(token)
    assert SECRET not in str(got.value)


@as_root
def test_a_token_file_of_another_user_is_refused(token: Path):
    os.chown(token, 12345, -1)
    with pytest.raises(ConfigError, match="belongs to user 12345"):
        read_token(token)


def test_a_link_a_pipe_and_a_folder_are_no_token_file(tmp_path: Path, token: Path):
    (tmp_path / "link").symlink_to(token)
    with pytest.raises(ConfigError, match="is a link"):
        read_token(tmp_path / "link")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="is a link"):
        read_token(tmp_path / "broken")
    assert not (tmp_path / "nowhere").exists()
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ConfigError, match="is no regular file"):  # and does not wait for a writer
        read_token(tmp_path / "pipe")
    (tmp_path / "folder").mkdir(mode=0o700)
    with pytest.raises(ConfigError, match="is no regular file"):
        read_token(tmp_path / "folder")


BAD = [b"", b" \n\t ", b"x", b"fifteen-letters", b"two words of text here", b"line of one\nline of two", b"\x00" * 32]
BAD += [b"\xff\xfe" * 20, "ключключключключ".encode(), b"0123456789abcdef\x1b[31m", b"x" * 5000]


@pytest.mark.parametrize("content", BAD, ids=range(len(BAD)))
def test_a_text_that_is_no_secret_is_refused_and_not_repeated(token: Path, content: bytes):
    token.write_bytes(content)
    with pytest.raises(ConfigError, match="wanted at least 16 printable ASCII characters") as got:
        read_token(token)
    assert len(str(got.value)) < 400


def test_a_token_travels_neither_with_git_nor_with_a_job():
    name = ServeConfig.__dataclass_fields__["token_file"].default
    ignored = subprocess.run(["git", "check-ignore", "-q", "--no-index", str(name)], check=False)
    assert ignored.returncode == 0
    excludes = yaml.safe_load(Path("cluster/runtime_env.yaml").read_text())["excludes"]
    assert any(Path(str(name)).match(pattern) for pattern in excludes)


@pytest.mark.parametrize("before", [None, ""])
def test_a_private_ray_gets_a_token_unless_the_mode_is_named(monkeypatch: pytest.MonkeyPatch, before: str | None):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    if before is not None:
        monkeypatch.setenv("RAY_AUTH_MODE", before)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    (finding,) = check_ray_auth(os.environ, Path("/nowhere"))
    guard_private_ray("")
    assert "a private Ray gets a fresh token" in finding.found
    assert os.environ["RAY_AUTH_MODE"] == "token" and len(os.environ["RAY_AUTH_TOKEN"]) == 64
    first = os.environ.pop("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_MODE", "")
    guard_private_ray("")
    assert os.environ["RAY_AUTH_TOKEN"] != first
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    guard_private_ray("")
    assert os.environ["RAY_AUTH_MODE"] == "disabled"


def test_an_empty_token_is_none(tmp_path: Path):
    levels = [one.level for one in check_ray_auth({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": ""}, tmp_path)]
    assert levels == ["ok", "warn"]


def test_uploads_are_stored_in_a_folder_of_our_own_only(tmp_path: Path):
    with clip_path("data:video/mp4;base64,AAAA", tmp_path) as path:
        assert (tmp_path / path).read_bytes() == b"\0\0\0"
        assert stat.S_IMODE((tmp_path / UPLOADS).stat().st_mode) == 0o700


@pytest.mark.parametrize("attack", ["open to all", "a link", "a file", pytest.param("of another user", marks=as_root)])
def test_an_upload_folder_that_others_reach_is_refused(tmp_path: Path, attack: str):
    folder = tmp_path / UPLOADS
    if attack == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    elif attack == "a file":
        folder.touch()
    else:
        make_private(folder)
        folder.chmod(0o777 if attack == "open to all" else 0o700)
        os.chown(folder, 12345 if attack == "of another user" else -1, -1)
    with pytest.raises(OSError, match=UPLOADS), clip_path("data:video/mp4;base64,AAAA", tmp_path):
        raise AssertionError("stored")
