"""The token file."""

import stat
from pathlib import Path

import pytest

from vrl.errors import ConfigError
from vrl.serve.token import is_authorised, read_token


def test_a_missing_file_is_created_for_its_owner_only(tmp_path: Path):
    path = tmp_path / "token"
    token = read_token(path)
    assert len(token) >= 32 and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_token(path) == token
    assert read_token(tmp_path / "other") != token


def test_a_file_that_others_read_or_that_is_empty_is_refused(tmp_path: Path):
    path = tmp_path / "token"
    path.write_text("a-secret-of-sixteen")
    path.chmod(0o640)
    with pytest.raises(ConfigError, match=r"has mode 640, which lets others read it"):
        read_token(path)
    path.chmod(0o600)
    path.write_text(" \n")
    with pytest.raises(ConfigError, match="got an empty file"):
        read_token(path)


def test_the_header_must_carry_the_token():
    assert is_authorised("Bearer secret", "secret") and is_authorised("bearer secret", "secret")
    for header in (None, "", "secret", "Bearer", "Bearer secre", "Basic secret", "Bearer \u00e9"):
        assert not is_authorised(header, "secret")
