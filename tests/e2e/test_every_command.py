"""What holds for every command: two examples, `--json`, one help for one option, and a quiet end of `| head -1`."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from gateway.cli import app, progress
from gateway.cli.progress import Working
from gateway.recording.file import Exchange, Header, exchange_line, header_line, last_line
from gateway.tls.certs import Authority
from tests.support.oneshot import gateway
from tests.support.process import GATEWAY, ROOT, running
from tests.support.until import wait_until

WITHOUT_JSON = {
    "": "runs the gateway, which prints nothing; its log has --log-format json",
    "certs": "has commands, and does nothing itself",
}
SEVERAL_MEANINGS = {"--json", "--count", "--every", "--for", "--listen", "--host", "--units", "--unit", "--device",
                    "--role"}  # fmt: skip
"""Options that every command explains in its own words, as they do another thing in each."""
EXIT_CLOSED = 141


def commands(group: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """All there are, with their names as they are typed."""
    yield name, group
    for word, command in getattr(group, "commands", {}).items():
        yield from commands(command, f"{name} {word}".strip())


ALL = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("name", ALL)
def test_its_help_has_two_examples(name: str) -> None:
    _, found, examples = ALL[name].help.partition("Examples:")
    assert found, "no examples"
    assert (
        len(re.findall(rf"^\s*(?:[\w ]+\| )?{' '.join(('gateway', name)).strip()}(?: |$)", examples, re.MULTILINE)) >= 2
    )


@pytest.mark.parametrize("name", ALL)
def test_it_has_json_or_a_reason_why_not(name: str) -> None:
    has = any("--json" in parameter.opts for parameter in ALL[name].params)
    assert has is (name not in WITHOUT_JSON), WITHOUT_JSON.get(name, "a command of which programs understand nothing")


def test_the_same_option_is_the_same_everywhere() -> None:
    """What several commands take is said in one place (gateway/cli/options.py)."""
    told: dict[str, dict[str, str]] = {}
    for name, command in ALL.items():
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--") and name and option not in SEVERAL_MEANINGS:
                    told.setdefault(option, {})[name] = f"{'/'.join(parameter.opts)} {parameter.help}"
    shared = {option: set(of.values()) for option, of in told.items() if len(of) >= 4}
    assert shared.keys() >= {"--timeout", "--config", "--cert", "--key", "--ca", "--force", "--state-dir"}
    assert {option: texts for option, texts in shared.items() if len(texts) > 1} == {}


# -- nobody reads ---------------------------------------------------------------------------------------------------

PLANT = """
server: {listen: "tcp://127.0.0.1:0"}
units: {1: {holding: 0..9}, 7: {forward: press}}
devices:
  press: {url: "sim://", every: 50ms, poll: [{read: "holding:0..9", to: "1/input:0"}]}
"""
NEEDS_SOCKETS = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What stands for the words in braces: a plant that runs, its port, and files of all kinds."""
    folder = tmp_path_factory.mktemp("every")
    table, recording, made = folder / "tags.csv", folder / "press.rec", folder / "certs"
    table.write_text("name,type,reference\nspeed,uint16,400013\n")
    exchange = Exchange(0.0, 1, bytes.fromhex("0300000001"), bytes.fromhex("03020001"), 0.001)
    recording.write_text(
        header_line(Header("press", "sim://", (1,), "x")) + exchange_line(exchange) + last_line(1.0, "", 1, 0)
    )
    Authority(made).make(["localhost"], ["operator"], days=1, force=False)
    with running(PLANT, folder) as plant:
        wait_until((folder / "state" / "control.sock").exists, what="the control socket")
        yield {
            "plant": str(folder / "plant.yaml"), "at": f"127.0.0.1:{plant.port}", "table": str(table),
            "rec": str(recording), "pem": str(made / "operator.pem"), "certs": str(made), "new": str(folder / "new"),
        }  # fmt: skip


def unread(*arguments: str) -> tuple[int, str]:
    """Exit code and standard error of a command whose standard output nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(
            [*GATEWAY, *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=writing, stderr=subprocess.PIPE,
            text=True, timeout=20, check=False,
        )  # fmt: skip
    finally:
        os.close(writing)
    return ended.returncode, ended.stderr


@NEEDS_SOCKETS
@pytest.mark.parametrize(
    "line",
    [
        "--help", "read --help", "schema", "check {plant}",
        "plan {plant}", "export {plant} -f csv", "import {table} --url tcp://10.0.0.1", "certs show {pem}",
        "certs init {new} --json", "certs revoke {certs} operator", "status {plant}", "top {plant} --json",
        "trace {plant}", "trace {plant} --pcap -", "read {at} holding:0", "read {at} holding:0 --watch --json",
        "write {at} holding:0 1", "guess {at} holding:0 --reads 1", "scan {at} --units 1 --tables holding:0..1",
        "doctor {plant}", "simulate {plant} --base-port 0", "replay {rec} --listen tcp://127.0.0.1:0",
    ],
)  # fmt: skip
def test_a_closed_standard_output_ends_it_quietly(files: dict[str, str], line: str) -> None:
    code, told = unread(*line.format(**files).split())
    assert code == EXIT_CLOSED, told
    assert not re.search("Traceback|Exception|Broken pipe", told), told


@NEEDS_SOCKETS
def test_a_shell_pipe_that_takes_one_line_sees_no_complaint(files: dict[str, str]) -> None:
    script = f'"{sys.executable}" -m gateway schema | head -1; echo "${{PIPESTATUS[0]}}"'
    ended = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert (ended.stdout.splitlines(), ended.stderr) == (["{", str(EXIT_CLOSED)], "")


def test_what_a_command_finds_is_its_exit_code_when_all_of_it_was_read(tmp_path: Path) -> None:
    assert gateway("status", "--state-dir", str(tmp_path)).returncode == 1
    assert gateway("check", str(tmp_path / "none.yaml")).returncode == 2


# -- what takes longer than a second ----------------------------------------------------------------------------------


def test_what_takes_long_says_so_where_there_is_no_terminal_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.02)
    with Working("reading plant.yaml") as working:
        told: list[str] = []

        def says(text: str) -> bool:
            told.append(capsys.readouterr().err)
            return text in "".join(told)

        wait_until(lambda: says("reading plant.yaml: 0 s\n"), what="the first line")
        working.text = "reading, 2 of 3"
        wait_until(lambda: says("reading, 2 of 3: 0 s\n"), what="what it is at now")
    threads = threading.active_count()
    with Working("for a program", quiet=True):
        assert threading.active_count() <= threads, "nobody is told"


@NEEDS_SOCKETS
def test_a_device_that_does_not_answer_is_told_to_be_waited_for(tmp_path: Path) -> None:
    """On a terminal, after a second; the line goes away before the result comes."""
    import pty

    with socket.create_server(("127.0.0.1", 0)) as silent:
        master, slave = pty.openpty()
        at = f"127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(
            [*GATEWAY, "read", at, "holding:0", "--timeout", "1500ms"], cwd=ROOT, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=slave,
        )  # fmt: skip
        os.close(slave)
        told = b""
        try:
            while part := _read(master):
                told += part
            assert process.wait(20) == 1
        finally:
            process.kill()
            process.communicate()
            os.close(master)
    assert re.search(rb"\rtcp://127\.0\.0\.1:\d+ unit 1: reading: 1 s\x1b\[K", told), told
    assert b"\r\x1b[Ktcp://127.0.0.1:" in told
    assert told.endswith(b"no usable answer within 1.5s: is the unit id right? Longer: --timeout\r\n"), told


def _read(master: int) -> bytes:
    try:
        return os.read(master, 4096)
    except OSError:  # Linux: the other end is closed
        return b""
