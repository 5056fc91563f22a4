"""Where else it runs: in a container, and on a system without what POSIX has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.needs import missing
from tests.support.process import ROOT, Running, running

PLANT = """
server: {listen: "tcp://127.0.0.1:0"}
units: {1: {holding: 10, initial: {"holding:0": 4711}, retain: true}}
devices:
  mixer: {url: sim://, every: 100ms, tags: {level: {at: holding:0, type: int16, to: 1/input:0}}}
"""
DOCKERFILE = (ROOT / "Dockerfile").read_text()


# -- the container ---------------------------------------------------------------------------------------------------


def test_the_linter_finds_nothing_in_the_dockerfile() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        missing("hadolint")
    checked = subprocess.run([hadolint, "--no-color", "Dockerfile"], cwd=ROOT, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "")


def health_check(state: Path) -> int:
    """Exit code of what the image asks every half minute, with our own command and state."""
    found = re.search(r"HEALTHCHECK .*?CMD (\[.*?\]\n)", DOCKERFILE, re.DOTALL)
    assert found is not None
    command: list[str] = json.loads(found[1])
    assert "/var/lib/gateway" in command[-1]
    command[-1] = command[-1].replace("/var/lib/gateway", str(state))
    command[-1] = command[-1].replace("gateway status", f"{sys.executable} -m gateway status", 1)
    return subprocess.run(command, cwd=ROOT, capture_output=True).returncode


def test_the_health_check_sees_a_gateway_and_its_end(tmp_path: Path) -> None:
    """A dead device is the plant's affair: another container would not mend it."""
    with running(PLANT + '  dead: {url: "tcp://127.0.0.1:1"}\n', tmp_path) as gateway:
        gateway.wait_for_log("trying on")
        gateway.wait_for_log("is running")
        assert health_check(tmp_path / "state") == 0
    assert health_check(tmp_path / "state") == 1


def test_what_the_image_is_built_of_is_what_pip_needs() -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    sent = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert sorted(" ".join(copied).split()) == sorted(sent) == ["README.md", "gateway", "pyproject.toml"]
    assert all((ROOT / name).exists() for name in sent)


def test_it_does_not_run_as_root() -> None:
    users = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)
    assert users == ["10502:10502"]
    assert re.search(r"useradd .*--uid 10502", DOCKERFILE)


# -- Windows ---------------------------------------------------------------------------------------------------------

AS_WINDOWS = [sys.executable, "-m", "tests.support.as_windows"]


@pytest.mark.parametrize("arguments", ["check config/quickstart.yaml", "plan config/quickstart.yaml", "--help"])
def test_commands_need_nothing_of_posix(arguments: str) -> None:
    done = subprocess.run([*AS_WINDOWS, *arguments.split()], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_without_unix_sockets_status_says_so() -> None:
    command = [*AS_WINDOWS, "status", "config/quickstart.yaml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "this system has no Unix sockets" in done.stderr


def test_a_gateway_runs_without_what_windows_lacks(tmp_path: Path) -> None:
    (tmp_path / "plant.yaml").write_text(PLANT)
    gateway = Running([*AS_WINDOWS, "--config", str(tmp_path / "plant.yaml"), "--watch"], tmp_path, 1)
    try:
        gateway.wait_for_start()
        gateway.wait_for_log("is running")
        read = subprocess.run(
            [sys.executable, "-m", "gateway", "read", f"tcp://127.0.0.1:{gateway.port}", "holding:0"],
            cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        assert "4711" in read.stdout
        (tmp_path / "plant.yaml").write_text(PLANT.replace("holding: 10,", "holding: 11,"))
        gateway.wait_for_log("configuration 1 is running")  # --watch stands for SIGHUP
        assert gateway.stop() == 0
        assert not gateway.search("Traceback"), gateway.told()
    finally:
        gateway.kill()
