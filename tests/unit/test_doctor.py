"""The doctor's checks, each passing and failing."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from vrl import doctor
from vrl.doctor import (
    GIB,
    Finding,
    check_decoder,
    check_folder,
    check_imports,
    check_ray_auth,
    check_shared_memory,
    check_versions,
    run_doctor,
)
from vrl.toyworld import world as toyworld

ENGINES = ["no-such-engine==1; extra == 'cpu'", "no-such-gpu-engine==1; extra == 'gpu'"]


def test_versions_within_the_requirements_are_one_good_finding() -> None:
    mine = np.__version__
    (found,) = check_versions(
        [f"numpy=={mine}", "numpy>=1; extra == 'cpu'", ENGINES[1], "no-such-tool; extra == 'dev'"]
    )
    assert found.level == "ok" and f"numpy {mine}" in found.found


@pytest.mark.parametrize(
    ("requirements", "level", "word"),
    [
        (["no-such-package>=2"], "fail", "pip install 'no-such-package>=2'"),
        (["numpy==0.1"], "warn", "pip install 'numpy==0.1'"),
        (["numpy", *ENGINES], "fail", "vrl[cpu]"),
        ([], "fail", "pip install -e"),
    ],
)
def test_a_finding_about_a_package_names_the_cure(requirements: list[str], level: str, word: str) -> None:
    (finding,) = check_versions(requirements)
    assert finding.level == level and word in finding.cure


def test_a_module_that_does_not_import_fails() -> None:
    (finding,) = check_imports(("json", "vrl.no_such_module"))
    assert finding.level == "fail" and "vrl.no_such_module" in finding.topic


@pytest.mark.parametrize(
    ("free_gib", "memory_gib", "level"), [(0.06, 8, "fail"), (3.0, 16, "warn"), (1.5, 2, "warn"), (3.0, 8, "ok")]
)
def test_too_little_shared_memory_is_reported_with_a_cure(
    monkeypatch: pytest.MonkeyPatch, free_gib: float, memory_gib: int, level: str
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(total=8 * GIB, free=free_gib * GIB))
    finding = check_shared_memory(Path("/dev/shm"), memory_gib * GIB)
    assert finding.level == level and ("psm_" in finding.cure) == (level != "ok")


def test_the_decoder_returns_the_frames_that_were_written() -> None:
    assert check_decoder().level == "ok"


def test_wrong_frames_and_unreadable_files_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    encode = toyworld.encode
    monkeypatch.setattr(toyworld, "encode", lambda frames, path, fps: encode(np.roll(frames, 1, axis=0), path, fps))
    assert check_decoder().level == "fail"
    monkeypatch.setattr(toyworld, "encode", lambda frames, path, fps: path.write_text("no clip"))
    assert check_decoder().level == "fail"


def token_file(home: Path, mode: int) -> Path:
    path = home / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("secret")
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("environ", "levels"),
    [
        ({}, ["ok"]),
        ({"RAY_AUTH_MODE": "disabled"}, ["warn"]),
        ({"RAY_AUTH_MODE": "tokn"}, ["fail"]),
        ({"RAY_AUTH_MODE": "token"}, ["ok", "warn"]),  # no token anywhere
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "secret"}, ["ok"]),
    ],
)
def test_ray_auth_mode(environ: dict[str, str], levels: list[str], tmp_path: Path) -> None:
    assert [finding.level for finding in check_ray_auth(environ, tmp_path)] == levels


def test_a_token_file_that_others_can_read_is_named(tmp_path: Path) -> None:
    path = token_file(tmp_path, 0o644)
    _, finding = check_ray_auth({"RAY_AUTH_MODE": "token"}, tmp_path)
    assert finding.level == "warn" and finding.cure == f"chmod 600 {path}" and "secret" not in finding.found
    path.chmod(0o600)
    assert [finding.level for finding in check_ray_auth({"RAY_AUTH_MODE": "token"}, tmp_path)] == ["ok"]
    moved = path.rename(tmp_path / "token")
    moved.chmod(0o640)
    _, finding = check_ray_auth({"RAY_AUTH_TOKEN_PATH": str(moved)}, tmp_path)
    assert finding.cure == f"chmod 600 {moved}"


def test_checking_a_runs_folder_leaves_nothing_in_it(tmp_path: Path) -> None:
    assert check_folder(tmp_path / "runs").level in ("ok", "warn")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    assert check_folder(tmp_path / "file" / "runs").level == "fail"


def test_any_failure_makes_the_exit_code_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    findings = [Finding(topic="disk", level="warn", found="little", cure="pip install 'vrl[cpu]'")]
    monkeypatch.setattr(doctor, "examine", lambda runs_dir: findings)
    assert run_doctor(Path("runs")) == 0
    findings.append(Finding(topic="shm", level="fail", found="none"))
    assert run_doctor(Path("runs")) == 1
    assert "vrl[cpu]" in capsys.readouterr().out  # brackets are text, not markup


def test_a_temporary_folder_too_long_for_sockets_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/" + "x" * 79)
    finding = doctor.check_temporary(Path("/" + "x" * 79))
    assert finding.level == "warn" and "/tmp" in finding.found and "TMPDIR" in finding.cure
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    assert doctor.check_temporary(Path("/tmp")).level == "ok"
