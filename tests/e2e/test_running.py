"""The command as a service: how it starts, what it says, how it ends, and what it says when it cannot."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.devices import free_port
from tests.support.needs import require
from tests.support.process import ROOT, STOP_S, running
from tests.support.until import wait_until
from tests.support.wire import Wire

EMPTY = 'server: {listen: "tcp://127.0.0.1:0"}\nunits: {1: {holding: 10}}\n'


def command(*arguments: str, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """The command (behind `before`), run to its end."""
    return subprocess.run(
        [*before, sys.executable, "-m", "gateway", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_with_clients_connected_and_devices_away(tmp_path: Path, number: int) -> None:
    plant = f"""
server: {{listen: "tcp://127.0.0.1:0"}}
devices:
  away: {{url: "tcp://127.0.0.1:{free_port()}", poll: [{{read: "holding:0", to: "holding:0"}}]}}
"""
    with running(plant, tmp_path) as gateway, Wire(gateway.port) as wire:
        assert wire.ask(b"\x03\0\0\0\x01") == b"\x83\x0b"
        assert gateway.stop(number) == 0
        wire.expect_close()
        assert gateway.search("gateway stopped")


def test_it_is_silent_while_healthy(tmp_path: Path) -> None:
    plant = """
server: {listen: "tcp://127.0.0.1:0", status: input:900}
devices:
  sim: {url: "sim://", every: 20ms, poll: [{read: "holding:0..9", to: "holding:0"}]}
"""
    with running(plant, tmp_path) as gateway, Wire(gateway.port) as wire:
        gateway.wait_for_log("client .* connected")
        lines = len(gateway.log)
        for _ in range(200):  # hundreds of requests and polls later
            assert wire.ask(b"\x04\x03\x84\0\x01")[0] == 4
        assert gateway.log[lines:] == []


def test_the_log_can_be_json(tmp_path: Path) -> None:
    with running(EMPTY, tmp_path, "--log-format", "json") as gateway:
        for line in gateway.log:
            fields = json.loads(line)
            assert {"time", "level", "message"} <= fields.keys()
            assert fields["time"].endswith("Z")


def test_listen_overrides_the_listeners(tmp_path: Path) -> None:
    first, second = free_port(), free_port()
    arguments = ("--listen", f"tcp://127.0.0.1:{first}", "--listen", f"tcp://127.0.0.1:{second}")
    with running(EMPTY, tmp_path, *arguments, listeners=2) as gateway:
        assert gateway.ports == [first, second]


def test_a_port_in_use_says_so_and_by_whom(tmp_path: Path) -> None:
    path = tmp_path / "plant.yaml"
    path.write_text(EMPTY)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = command("--config", str(path), "--listen", f"tcp://127.0.0.1:{port}")
    assert result.returncode == 1
    assert f"cannot listen on tcp://127.0.0.1:{port}: the port is in use" in result.stderr
    if sys.platform.startswith("linux"):
        assert f"(process {os.getpid()})" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the rule of low ports is Linux's")
def test_port_502_without_privilege_names_the_three_remedies(tmp_path: Path) -> None:
    limit = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if limit <= 502:
        pytest.skip(f"this machine lets everybody use ports from {limit}")
    path = tmp_path / "plant.yaml"
    path.write_text(EMPTY)
    # Root has the privilege whatever its name: taken away here, as a container would.
    drop = [require("setpriv"), "--bounding-set", "-net_bind_service"] if os.getuid() == 0 else []
    result = command("--config", str(path), "--listen", "tcp://127.0.0.1:502", before=drop)
    assert result.returncode == 1
    for remedy in ("CAP_NET_BIND_SERVICE", "ip_unprivileged_port_start", "--listen"):
        assert remedy in result.stderr
    assert "Traceback" not in result.stderr


SIX_MISTAKES = """\
server:
  listn: tcp://0.0.0.0:5020
devices:
  press:
    url: tcp://192.168.1.10
    timeout: 5
    tags:
      pressure: {at: holding:10, type: flot32, to: input:0}
      level: {at: 40000, type: int16}
      flow: {at: holding:12, type: float32, to: input:10}
      speed: {at: holding:14, type: float32, to: input:11}
  press2:
    tags: {}
"""


def test_six_different_mistakes_show_six_good_messages(tmp_path: Path) -> None:
    path = tmp_path / "plant.yaml"
    path.write_text(SIX_MISTAKES)
    result = command("--config", str(path))
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith(f"{path}:")]
    for where, hint in (
        ("2:3: server.listn", "did you mean 'listen'"),
        ("6:14: devices.press.timeout", "5s"),
        ("8:40: devices.press.tags.pressure.type", "did you mean 'float32'"),
        ("9:19: devices.press.tags.level.at", "40001"),
        ("devices.press.tags.speed.to", "devices.press.tags.flow"),
        ("devices.press2", "url"),
    ):
        assert any(where in line and hint in line for line in lines), (where, hint, result.stderr)
    assert len(lines) == 6


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    result = command("--config", str(tmp_path / "none.yaml"))
    assert result.returncode == 2
    assert "none.yaml" in result.stderr
    assert "Traceback" not in result.stderr


def test_version_is_told() -> None:
    result = command("--version")
    assert result.returncode == 0
    assert result.stdout.split()[-1].count(".") == 2


def test_it_stops_in_time_when_a_client_does_not_fetch_its_answers(tmp_path: Path) -> None:
    with running(EMPTY, tmp_path) as gateway:
        wire = Wire(gateway.port, receive_buffer=4096)
        wire.socket.settimeout(0.5)
        request = b"\0\1\0\0\0\6\1\3\0\0\0\x0a"
        with pytest.raises(TimeoutError):
            wire.socket.sendall(request * 10_000_000)
        assert gateway.stop() == 0, f"not within {STOP_S} s"
        wire.close()


@pytest.mark.skipif(sys.platform == "win32", reason="a shell closes the streams")
@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_standard_streams_do_not_hurt_it(tmp_path: Path, closed: str) -> None:
    port, away = free_port(), free_port()
    path = tmp_path / "plant.yaml"
    path.write_text(f"""
server: {{listen: "tcp://127.0.0.1:{port}"}}
devices:
  away: {{url: "tcp://127.0.0.1:{away}", poll: [{{read: "holding:0", to: "holding:0"}}]}}
""")
    command = f'exec "{sys.executable}" -m gateway --config "{path}" {closed}'
    process = subprocess.Popen(["sh", "-c", command], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: answers(port), 20.0, "an answer")
        process.terminate()
        assert process.wait(STOP_S) == 0
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    try:
        with Wire(port) as wire:
            return wire.ask(b"\x03\0\0\0\x01") == b"\x83\x0b"
    except OSError:
        return False


def test_a_name_that_nobody_knows_ends_no_other_device(tmp_path: Path) -> None:
    plant = """
server: {listen: "tcp://127.0.0.1:0"}
devices:
  nowhere: {url: "tcp://no-such-host.invalid", poll: [{read: "holding:0", to: "holding:0"}]}
  here: {url: "sim://", every: 50ms, poll: [{read: "holding:0", to: "holding:1"}]}
"""
    with running(plant, tmp_path) as gateway, Wire(gateway.port) as wire:
        wait_until(lambda: wire.ask(b"\x03\0\1\0\1") == b"\x03\2\0\0")
        assert wire.ask(b"\x03\0\0\0\1") == b"\x83\x0b"
