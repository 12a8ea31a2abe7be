"""Checks every file in cluster/ offline with the strictest available checker."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

BIN = Path(sys.executable).parent
LAUNCHER = [Path("cluster/ray-onprem.yaml"), Path("cluster/ray-aws.yaml")]
KUBERAY = [Path("cluster/kuberay-rayjob.yaml"), Path("cluster/kuberay-raycluster.yaml")]


def strict(**properties: Any) -> dict[str, Any]:
    """Return the JSON schema of an object with exactly these properties."""
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False,
    }  # fmt: skip


TEXT, COUNT = {"type": "string"}, {"type": "integer"}
TEMPLATE = strict(spec={"type": "object"})
PARAMETERS = {"type": "object", "additionalProperties": TEXT}
CLUSTER = strict(
    rayVersion=TEXT,
    authOptions=strict(mode={"const": "token"}),
    headGroupSpec=strict(rayStartParams=PARAMETERS, template=TEMPLATE),
    workerGroupSpecs={
        "type": "array",
        "items": strict(
            groupName=TEXT,
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            rayStartParams=PARAMETERS,
            template=TEMPLATE,
        ),
    },
)
JOB = strict(
    entrypoint=TEXT,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode"]},
    backoffLimit=COUNT,
    shutdownAfterJobFinishes={"type": "boolean"},
    ttlSecondsAfterFinished=COUNT,
    runtimeEnvYAML=TEXT,
    rayClusterSpec=CLUSTER,
)
KINDS = {
    kind: strict(apiVersion={"const": "ray.io/v1"}, kind={"const": kind}, metadata=strict(name=TEXT), spec=spec)
    for kind, spec in (("RayJob", JOB), ("RayCluster", CLUSTER))
}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def check_launcher(config: dict[str, Any]) -> None:
    validate_config(prepare_config(config))


def check_kuberay(manifest: dict[str, Any]) -> None:
    jsonschema.validate(manifest, KINDS[manifest["kind"]])
    cluster = manifest["spec"].get("rayClusterSpec", manifest["spec"])
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, **group["template"]}
        kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("path", LAUNCHER, ids=lambda path: path.name)
def test_launcher_files_are_valid_for_ray_up(path: Path):
    config = read(path)
    check_launcher(config)
    starts = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    assert all("RAY_AUTH_MODE=token" in command for command in starts if "ray start" in command)
    assert "0.0.0.0" not in path.read_text()
    with pytest.raises(Exception, match="max_workerz"):
        check_launcher({**config, "max_workerz": 2})


@pytest.mark.parametrize("path", KUBERAY, ids=lambda path: path.name)
def test_kuberay_files_are_strictly_valid(path: Path):
    manifest = read(path)
    check_kuberay(manifest)
    cluster = manifest["spec"].get("rayClusterSpec", manifest["spec"])
    assert cluster["rayVersion"] == version("ray")
    wrong = read(path)
    wrong_cluster = wrong["spec"].get("rayClusterSpec", wrong["spec"])
    wrong_cluster["headGroupSpec"]["template"]["spec"]["containers"][0]["ports"][0]["contanerPort"] = 1
    with pytest.raises(kubernetes_validate.ValidationError, match="contanerPort"):
        check_kuberay(wrong)
    with pytest.raises(jsonschema.ValidationError, match="groupNmae"):
        check_kuberay({**manifest, "spec": {**manifest["spec"], "groupNmae": "gpu"}})


def test_runtime_env_is_valid():
    from ray.runtime_env import RuntimeEnv

    assert RuntimeEnv(**read(Path("cluster/runtime_env.yaml")))["env_vars"]["HF_HUB_OFFLINE"] == "1"


def test_dockerfile_copies_what_exists_and_installs_an_extra_that_exists():
    text = Path("cluster/Dockerfile").read_text()
    for line in re.findall(r"^COPY --chown=ray (.+) \S+$", text, re.MULTILINE):
        assert all(Path(source).exists() for source in line.split())
    extra = re.search(r"\.\[(\w+)\]", text)
    assert extra and f"{extra[1]} = [" in Path("pyproject.toml").read_text()


def test_no_file_holds_a_secret():
    for path in filter(Path.is_file, Path("cluster").rglob("*")):
        assert not re.search(r"(?i)(auth_token|api_key|password)\s*[:=]\s*['\"]?[0-9a-z]{8}", path.read_text()), path


def test_the_slurm_script_passes_shellcheck():
    subprocess.run([BIN / "shellcheck", "cluster/slurm.sbatch"], check=True)


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """Fake Slurm and Ray for one node: srun and symmetric-run start the command, scontrol records its calls."""
    tools = {
        "scontrol": f'[ "$1" = show ] && printf "node1\\nnode2\\n" || echo "$@" >> {tmp_path}/scontrol.log',
        "srun": 'exec "$@"',
        "ray": f'echo "$@" > {tmp_path}/ray.log; while [ "$1" != -- ]; do shift; done; shift; "$@"',
        "vrl": (
            f'trap "echo saved > {tmp_path}/checkpoint; exit 143" TERM; echo "$@" > {tmp_path}/vrl.log\n'
            f"while [ ! -e {tmp_path}/end ]; do sleep 0.05; done; exit $(cat {tmp_path}/end)"
        ),
    }
    (tmp_path / "bin").mkdir()
    for name, body in tools.items():
        file = tmp_path / "bin" / name
        file.write_text(f"#!/usr/bin/env bash\n{body}\n")
        file.chmod(0o755)
    shutil.copy("cluster/slurm.sbatch", tmp_path)
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2"}
    return {**os.environ, **job, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}


def start(tmp_path: Path, env: dict[str, str]) -> subprocess.Popen:
    job = subprocess.Popen(["bash", "slurm.sbatch", "conf/x.yaml", "steps=3"], cwd=tmp_path, env=env)
    deadline = time.monotonic() + 20
    while not (tmp_path / "vrl.log").is_file():  # from then on the stand-in for vrl handles SIGTERM
        assert job.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    return job


@pytest.mark.parametrize("code", [0, 1])
def test_the_slurm_job_has_the_exit_code_of_its_run(tmp_path: Path, slurm: dict[str, str], code: int):
    job = start(tmp_path, slurm)
    (tmp_path / "end").write_text(str(code))
    assert job.wait(20) == code
    assert (tmp_path / "vrl.log").read_text().split() == [
        "train", "conf/x.yaml", "steps=3", "ray_address=auto", "resume=auto",
    ]  # fmt: skip
    assert "--address node1:6379 --min-nodes 2" in (tmp_path / "ray.log").read_text()
    assert not (tmp_path / "scontrol.log").exists()


def test_the_slurm_time_limit_saves_a_checkpoint_and_queues_again(tmp_path: Path, slurm: dict[str, str]):
    job = start(tmp_path, slurm)
    job.send_signal(signal.SIGUSR1)
    assert job.wait(20) == 0
    assert (tmp_path / "checkpoint").read_text() == "saved\n"
    assert (tmp_path / "scontrol.log").read_text() == "requeue 7\n"
    assert not list(tmp_path.glob(".vrl-*.pid"))
