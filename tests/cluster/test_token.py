"""An unauthorised user of a Ray head: with no token or a wrong one every port refuses, and no job starts."""

import json
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from cluster.conftest import Head

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
STRANGERS = {"no token": None, "a wrong token": secrets.token_hex(32), "the scheme alone": ""}
JOIN = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False); print(ray.cluster_resources())"


def ask(address: str, method: str, path: str, token: str | None, body: object = None) -> tuple[int, str]:
    """Send an HTTP request; returns status and text."""
    headers = {"Content-Type": "application/json"} | ({} if token is None else {"Authorization": f"Bearer {token}"})
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address + path, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def token_of(head: Head) -> str:
    return Path(head.env["RAY_AUTH_TOKEN_PATH"]).read_text()


def jobs(head: Head) -> list[dict]:
    status, text = ask(head.address, "GET", "/api/jobs/", token_of(head))
    assert status == 200
    return json.loads(text)


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_stranger_is_refused_at_the_job_server_and_no_job_starts(head: Head, tmp_path: Path, stranger: str):
    before, token, mark = jobs(head), STRANGERS[stranger], tmp_path / "mark"
    refusal = 401 if token is None else 403
    job = {"entrypoint": f"touch {mark}", "submission_id": f"break-in-{len(before)}"}
    assert ask(head.address, "POST", "/api/jobs/", token, job)[0] == refusal
    assert ask(head.agent, "POST", "/api/job_agent/jobs/", token, job)[0] == refusal
    for method, path in (
        ("GET", "/api/jobs/"), ("GET", "/api/version"), ("GET", "/nodes?view=summary"), ("GET", "/api/v0/actors"),
        ("POST", "/api/jobs/any/stop"), ("DELETE", "/api/jobs/any"), ("PUT", "/api/packages/gcs/any.zip"),
    ):  # fmt: skip
        status, text = ask(head.address, method, path, token)
        assert status == refusal, (method, path, status)
        assert token_of(head) not in text
    assert jobs(head) == before and not mark.exists()


def test_the_owner_of_the_token_starts_the_same_job(head: Head, tmp_path: Path):
    mark = tmp_path / "mark"
    job = {"entrypoint": f"touch {mark}", "submission_id": "invited"}
    assert ask(head.address, "POST", "/api/jobs/", token_of(head), job)[0] == 200
    head.wait_for("invited", "SUCCEEDED")
    assert mark.exists()


@pytest.mark.parametrize("token", [None, secrets.token_hex(32)], ids=["no token", "a wrong token"])
def test_the_command_line_and_a_driver_are_refused(head: Head, token: str | None):
    stranger = {"RAY_AUTH_TOKEN_PATH": "", "RAY_AUTH_MODE": "disabled" if token is None else "token"}
    stranger |= {} if token is None else {"RAY_AUTH_TOKEN": token}
    before = jobs(head)
    refused = head.job("submit", "--no-wait", "--", "true", code=1, **stranger).lower()
    assert "authenticat" in refused or "unauthorized" in refused or "forbidden" in refused
    driver = subprocess.run(
        [sys.executable, "-c", JOIN, head.gcs], env={**head.env, **stranger}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert driver.returncode != 0 and "CPU" not in driver.stdout
    assert "authentication" in driver.stderr.lower(), driver.stderr[-2000:]
    assert jobs(head) == before


def test_a_driver_with_the_token_joins(head: Head):
    driver = subprocess.run([sys.executable, "-c", JOIN, head.gcs], env=head.env, capture_output=True, timeout=120)
    assert driver.returncode == 0 and b"'CPU': 4.0" in driver.stdout
