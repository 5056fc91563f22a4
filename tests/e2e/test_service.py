"""The command as a service: what it tells systemd, ports that outlive it, the unit files that come with it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.needs import missing, require, require_module
from tests.support.process import ROOT
from tests.support.service import ear, handed_over, listening, port_of, service
from tests.support.until import wait_until

PLANT = """
server: {listen: "%s"}
units: {1: {holding: 10, initial: {"holding:0": 4711}}}
devices:
  mixer: {url: sim://, every: 100ms, tags: {level: {at: holding:0, type: int16, to: 1/input:0}}}
  dead: {url: "tcp://127.0.0.1:1", tags: {x: {at: holding:0, type: int16}}}
"""
READ = bytes.fromhex("000100000006010300000001")
ANSWER = bytes.fromhex("0001000000050103021267")


def plant(directory: Path, listen: str) -> Path:
    path = directory / "plant.yaml"
    path.write_text(PLANT % listen)
    return path


# -- what systemd is told --------------------------------------------------------------------------------------------


def test_its_life_is_told_from_ready_to_stopping(tmp_path: Path) -> None:
    path = plant(tmp_path, "tcp://127.0.0.1:0")
    with ear() as hears, service(path, environ={"NOTIFY_SOCKET": hears.name, "WATCHDOG_USEC": "600000"}) as gateway:
        assert "READY" in hears.hear()
        hears.hear_until("STATUS", "1 device good, 1 down")
        for _ in range(3):
            hears.hear_until("WATCHDOG", deadline_s=2)

        gateway.process.send_signal(signal.SIGHUP)
        assert int(hears.hear_until("RELOADING")["MONOTONIC_USEC"]) > 0
        hears.hear_until("READY")

        path.write_text(path.read_text().replace("holding: 10", "holdin: 10"))
        gateway.process.send_signal(signal.SIGHUP)
        hears.hear_until("RELOADING")
        hears.hear_until("READY")
        hears.hear_until("STATUS", "the last reload was refused")

        assert gateway.stop() == 0
        hears.hear_until("STOPPING")


_HANGS = """
import os, threading
from gateway import cli
from gateway.polling.wheel import Wheel
turn = Wheel._run_due
def hang(wheel):
    if os.path.exists("hang"):
        threading.Event().wait()
    turn(wheel)
Wheel._run_due = hang
cli.main()
"""
"""The gateway, whose loop stands still in a poll's turn as soon as there is a file of that name."""


def test_a_loop_that_hangs_is_silent(tmp_path: Path) -> None:
    """Its threads live on: the log's, the disk's. None of them speaks for it."""
    path = plant(tmp_path, "tcp://127.0.0.1:0")
    with ear() as hears:
        environ = os.environ | {
            "NOTIFY_SOCKET": hears.name, "WATCHDOG_USEC": "300000", "PYTHONPATH": str(ROOT)
        }  # fmt: skip
        with subprocess.Popen(
            [sys.executable, "-c", _HANGS, "--config", str(path)],
            cwd=tmp_path, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            try:
                hears.hear_until("WATCHDOG")
                (tmp_path / "hang").touch()
                with pytest.raises(TimeoutError):
                    hears.hear_until("nothing", deadline_s=1.0)  # beats come every 0.1 s
                assert process.poll() is None
            finally:
                process.kill()


# -- ports that outlive it -------------------------------------------------------------------------------------------


class Callers:
    """A client that connects, reads a register and leaves, again and again; what became of each attempt."""

    def __init__(self, port: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[bytes] = []
        self._port = port
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ending.is_set():
            self.outcomes[self._once()] += 1

    def _once(self) -> str:
        try:
            client = socket.create_connection(("127.0.0.1", self._port), timeout=20)
        except ConnectionRefusedError:
            return "refused"
        with client:
            try:
                client.sendall(READ)
                answer = client.recv(100)
            except ConnectionError:
                return "closed"  # by a gateway that ended while it was asked
            if answer not in (ANSWER, b""):
                self.wrong.append(answer)
            return "answered" if answer == ANSWER else "closed"

    def wait_for(self, more: int) -> None:
        """So many more that were answered."""
        until = self.outcomes["answered"] + more
        wait_until(lambda: self.outcomes["answered"] >= until, 30, f"{more} answers; {self.outcomes}")

    def end(self) -> None:
        self._ending.set()
        self._thread.join(30)


@contextmanager
def calling(port: int, count: int = 4) -> Iterator[list[Callers]]:
    callers = [Callers(port) for _ in range(count)]
    try:
        yield callers
    finally:
        for caller in callers:
            caller.end()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_no_client_is_refused_over_a_restart(how: signal.Signals, tmp_path: Path) -> None:
    with listening() as sock:
        path = plant(tmp_path, f"tcp://127.0.0.1:{port_of(sock)}")
        with ExitStack() as last:
            callers = last.enter_context(calling(port_of(sock)))  # before anybody answers, too
            with service(path, [sock], names="gateway.socket") as gateway:
                for caller in callers:
                    caller.wait_for(20)
                gateway.process.send_signal(how)
                gateway.process.wait(10)
            with service(path, [sock], names="gateway.socket"):
                for caller in callers:
                    caller.wait_for(20)
                last.close()  # who calls when nobody will ever answer waits for ever
        total = sum((caller.outcomes for caller in callers), Counter())
        assert total["refused"] == 0
        assert total["closed"] <= len(callers), total  # each by the gateway that ended
        assert not any(caller.wrong for caller in callers)


def test_a_listener_that_a_reload_takes_away_and_brings_back_refuses_nobody(tmp_path: Path) -> None:
    with listening() as sock, listening() as other:
        both = f'["tcp://127.0.0.1:{port_of(sock)}", "tcp://127.0.0.1:{port_of(other)}"]'
        path = tmp_path / "plant.yaml"
        with_both = PLANT.replace('"%s"', both)
        path.write_text(with_both)
        with service(path, [sock, other], names="a.socket:b.socket") as gateway:
            gateway.wait_for_log("running")
            path.write_text(PLANT % f"tcp://127.0.0.1:{port_of(sock)}")
            gateway.process.send_signal(signal.SIGHUP)
            gateway.wait_for_log(
                rf"systemd hands over tcp 127.0.0.1:{port_of(other)} \(b.socket\), which is none of our"
            )
            with socket.create_connection(other.getsockname(), timeout=20) as waiting:
                waiting.sendall(READ)
                path.write_text(with_both)
                gateway.process.send_signal(signal.SIGHUP)
                assert waiting.recv(100) == ANSWER
            assert gateway.stop() == 0


def test_datagram_sockets_are_taken_too(tmp_path: Path) -> None:
    with listening(kind=socket.SOCK_DGRAM) as sock, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        path = tmp_path / "plant.yaml"
        path.write_text(PLANT.replace('"%s"', f'["tcp://127.0.0.1:0", "udp://127.0.0.1:{port_of(sock)}"]'))
        client.settimeout(20)
        client.sendto(READ, sock.getsockname())  # before it is there
        with service(path, [sock]) as gateway:
            assert client.recv(100) == ANSWER
            assert not gateway.search("systemd hands over")


def test_the_page_waits_for_the_gateway_too(tmp_path: Path) -> None:
    require_module("starlette")
    with listening() as sock, listening() as page:
        path = plant(tmp_path, f"tcp://127.0.0.1:{port_of(sock)}")
        path.write_text(f'web: {{listen: "http://127.0.0.1:{port_of(page)}"}}\n{path.read_text()}')
        with socket.create_connection(page.getsockname(), timeout=20) as browser:
            browser.sendall(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
            with service(path, [sock, page]) as gateway:
                assert browser.recv(100).startswith(b"HTTP/1.1 200 ")
                assert not gateway.search("systemd hands over")
                assert gateway.stop() == 0


def test_a_socket_that_does_not_fit_is_told_before_the_port_is_missed(tmp_path: Path) -> None:
    """The usual mistake: ListenStream=502 is [::]:502 for both, and the file says 0.0.0.0."""
    with socket.socket(socket.AF_INET6) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::", 0))
        sock.listen()
        port = port_of(sock)
        gateway = handed_over(plant(tmp_path, f"tcp://0.0.0.0:{port}"), [sock], names="gateway.socket")
        try:
            assert gateway.process.wait(20) == 1
            gateway.wait_for_log(
                rf"systemd hands over tcp \[::\]:{port} \(gateway.socket\), and tcp://0.0.0.0:{port} is another address"
            )
            gateway.wait_for_log(rf"Write ListenStream=0.0.0.0:{port} into the socket unit")
            gateway.wait_for_log("the port is in use")
        finally:
            gateway.kill()


def test_systemds_own_activation(tmp_path: Path) -> None:
    activate = require("systemd-socket-activate")
    with listening() as sock:
        port = port_of(sock)
    path = plant(tmp_path, f"tcp://127.0.0.1:{port}")
    command = [activate, "-l", f"127.0.0.1:{port}", "-E", f"PYTHONPATH={ROOT}"]
    with subprocess.Popen(
        [*command, sys.executable, "-m", "gateway", "--config", str(path)],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stderr is not None
            process.stderr.readline()  # it listens
            with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
                client.sendall(READ)
                assert client.recv(100) == ANSWER
        finally:
            process.terminate()
            process.wait(10)


# -- what comes with it ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Copies of the unit files whose program exists on this machine."""
    folder = tmp_path_factory.mktemp("units")
    for name in ("gateway.service", "gateway.socket"):
        text = (ROOT / "config" / name).read_text()
        (folder / name).write_text(
            re.sub(r"^ExecStart=\S+", f"ExecStart={shutil.which('true')}", text, flags=re.MULTILINE)
        )
    return [str(folder / "gateway.service"), str(folder / "gateway.socket")]


def test_systemd_finds_nothing_wrong_with_the_units(units: list[str]) -> None:
    checked = subprocess.run([require("systemd-analyze"), "verify", *units], capture_output=True, text=True)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_the_service_is_fenced_in(units: list[str]) -> None:
    analyze = require("systemd-analyze")
    checked = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", "--threshold=20", units[0]],
        capture_output=True,
        text=True,
    )
    if "unrecognized option" in checked.stderr:
        missing("a systemd-analyze that judges files")
    assert checked.returncode == 0, checked.stdout  # exposure 2.0 of 10 at most


def test_the_units_say_what_the_gateway_does() -> None:
    """Type=notify wants READY=1, and a watchdog wants to hear of us more often than it bites."""
    text = (ROOT / "config" / "gateway.service").read_text()
    for line in ("Type=notify", "ExecReload=/bin/kill -HUP $MAINPID", "AmbientCapabilities=CAP_NET_BIND_SERVICE",
                 "RestartPreventExitStatus=2", "StateDirectory=gateway"):  # fmt: skip
        assert line in text.splitlines()
    assert "Accept=no" in (ROOT / "config" / "gateway.socket").read_text().splitlines()
