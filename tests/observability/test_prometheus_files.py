"""Prometheus' own checker and rule tests on the files of cluster/prometheus; schema checks of what Grafana reads."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

FOLDER = Path("cluster/prometheus")
GRAFANA = Path("cluster/grafana")


def promtool(*arguments: str) -> str:
    """Return what promtool prints; skip without it, except in CI. Fail if it finds a fault."""
    if shutil.which("promtool") is None:
        if os.environ.get("CI"):
            pytest.fail("promtool: got none, wanted Debian's prometheus package (apt-get install prometheus)")
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    done = subprocess.run(["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_configuration_is_valid():
    assert "SUCCESS" in promtool("check", "config", "prometheus.yml")


def test_every_alert_fires_on_its_condition_and_not_before():
    rules = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]
    cases = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
    checks = [check for case in cases for check in case["alert_rule_test"]]
    fires = {check["alertname"] for check in checks if check["exp_alerts"]}
    silent = {check["alertname"] for check in checks if not check["exp_alerts"]}
    assert fires == silent == {rule["alert"] for rule in rules}
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")


def test_an_alert_that_never_fires_is_found(tmp_path: Path):
    for name in ("alerts.yml", "alerts_test.yml"):
        text = (FOLDER / name).read_text().replace("vrl_loss_mismatch_kl > 0.05", "vrl_loss_mismatch_kl > 5")
        (tmp_path / name).write_text(text)
    with pytest.raises(AssertionError, match="MismatchHigh"):
        promtool("test", "rules", str(tmp_path / "alerts_test.yml"))


def test_the_grafana_files_fit_together():
    source = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())
    provider = yaml.safe_load((GRAFANA / "provisioning/dashboards/vrl.yml").read_text())["providers"][0]
    compose = yaml.safe_load((GRAFANA / "compose.yml").read_text())["services"]
    mounts = dict(volume.removesuffix(":ro").rsplit(":", 1)[::-1] for volume in compose["grafana"]["volumes"])
    assert (GRAFANA / mounts[provider["options"]["path"]]).is_dir()
    assert (GRAFANA / mounts["/etc/grafana/provisioning"] / "datasources").is_dir()
    assert source["datasources"][0]["url"] == "http://127.0.0.1:9090"
    assert "--web.listen-address=127.0.0.1:9090" in compose["prometheus"]["command"]
    assert compose["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert compose["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"].startswith("${GRAFANA_PASSWORD:?")
    scrape = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"][0]
    assert scrape["file_sd_configs"][0]["files"] == ["/runs/.targets/*.json"]
    assert any(volume.endswith(":/runs:ro") for volume in compose["prometheus"]["volumes"])
