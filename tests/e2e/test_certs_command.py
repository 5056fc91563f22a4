"""`gateway certs` as a user sees it: made, pasted, tried, revoked."""

from __future__ import annotations

import json
import shlex
import signal
import ssl
import subprocess
import sys
from pathlib import Path

from gateway.tls.certs import Authority
from tests.support.oneshot import gateway
from tests.support.process import running
from tests.support.secure import SecureWire, client_context, why_refused
from tests.support.until import wait_until
from tests.support.wire import hexed

READ = hexed("03 0000 0001")
WRITE = hexed("06 0000 002A")


def made(folder: Path, *arguments: str) -> str:
    result = gateway("certs", "init", str(folder), *arguments)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def pasted(told: str) -> str:
    """The part of a plant's file that was printed, on a free port, beside a plain listener."""
    part = told[told.index("server:") : told.index("\nSee the handshake")]
    part = part.replace("tls://0.0.0.0:802", "tls://127.0.0.1:0")
    return part.replace("  listen:\n", "  listen:\n    - tcp://127.0.0.1:0\n") + "units: {1: {holding: 0..9}}\n"


def test_what_init_prints_works_as_it_stands(tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    told = made(folder)
    script = next(line for line in told.splitlines() if line.startswith("python3 -c"))
    handshake = next(line for line in told.splitlines() if line.startswith("openssl s_client"))

    with running(pasted(told), tmp_path) as command:
        port = command.wait_for_log(r"listening on tls://127\.0\.0\.1:(\d+)")[1]
        _, *arguments = shlex.split(script.replace("802)", f"{port})"))
        tried = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=20, check=False)
        assert tried.stdout == "00 01 00 00 00 05 01 03 02 00 00\n", tried.stderr
        command.wait_for_log("connected: CN=operator, serial [0-9a-f]+, role `operator`, TLSv1.3")

        seen = subprocess.run(
            shlex.split(handshake.replace(":802", f":{port}").removesuffix(" </dev/null")),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
        assert "Verify return code: 0 (ok)" in seen.stdout

        authority = Authority(folder)
        with SecureWire(int(port), client_context(authority, "operator")) as operator:
            assert operator.ask(WRITE) == WRITE
            with SecureWire(int(port), client_context(authority, "viewer")) as viewer:
                assert viewer.ask(READ) == hexed("03 02 002A")
                assert viewer.ask(WRITE) == hexed("86 01")

            command.process.send_signal(signal.SIGHUP)
            command.wait_for_log("the configuration was read again")
            assert operator.ask(READ) == hexed("03 02 002A")

            result = gateway("certs", "revoke", str(folder), "viewer")
            assert result.returncode == 0
            assert "is revoked" in result.stdout
            assert "REVOKED" in why_refused(
                int(port), client_context(authority, "viewer", version=ssl.TLSVersion.TLSv1_3)
            )
            assert operator.ask(READ) == hexed("03 02 002A")

        audit = tmp_path / "state" / "audit.jsonl"
        line = wait_until(lambda: audit.exists() and audit.read_text().splitlines(), 5.0, "a line of the audit")[0]
        told_by_audit = json.loads(line)
        assert told_by_audit["role"] == "operator"
        assert told_by_audit["certificate"].startswith("CN=operator, serial ")


def test_certificates_that_do_not_work_end_the_start_with_the_file_and_what_to_do(tmp_path: Path) -> None:
    told = made(tmp_path / "certs")
    (tmp_path / "certs" / "server.key").chmod(0o644)
    plant = tmp_path / "plant.yaml"
    plant.write_text(pasted(told), encoding="utf-8")

    result = gateway("--config", str(plant))

    assert result.returncode in (1, 2)
    assert "server.key" in result.stderr
    assert "chmod 600" in result.stderr


def test_names_and_roles_of_ones_own(tmp_path: Path) -> None:
    told = made(
        tmp_path, "--host", "10.1.0.5", "--host", "gw.local", "--role", "Shift Leader", "--role", "on", "--days", "30"
    )

    assert '- {role: "Shift Leader", may: write}' in told
    assert "- {role: on, may: read}" in told
    shown = gateway("certs", "show", str(tmp_path / "server.pem")).stdout
    assert "10.1.0.5, gw.local" in shown
    shown = gateway("certs", "show", str(tmp_path / "shift-leader.pem")).stdout
    assert "role         Shift Leader" in shown


def test_mistakes_are_told_plainly_and_change_nothing(tmp_path: Path) -> None:
    made(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    for arguments, code, message in (
        (["init", str(tmp_path)], 1, "exists; choose another folder, or write over it with --force"),
        (["init", str(tmp_path), "--force", "--host", "tcp://x:802"], 2, "neither a name nor an address"),
        (["init", str(tmp_path), "--force", "--role", ""], 2, "cannot be a role"),
        (["init", str(tmp_path), "--force", "--role", "server"], 1, "do not give different file names"),
        (["init", str(tmp_path), "--days", "0"], 2, "--days"),
        (["init", str(tmp_path / "ca.pem" / "certs")], 1, "cannot be made"),
        (["revoke", str(tmp_path), "nobody"], 1, "nobody.pem: cannot be read"),
        (["revoke", str(tmp_path / "nowhere"), "viewer"], 1, "cannot be read"),
        (["show", str(tmp_path / "viewer.key")], 1, "there is no certificate in it"),
        (["show", str(tmp_path)], 1, "cannot be read"),
    ):
        result = gateway("certs", *arguments)
        assert result.returncode == code, (arguments, result)
        assert message in " ".join(result.stderr.split()), (arguments, result.stderr)
        assert result.stdout == ""
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_without_the_package_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "cryptography.py").write_text("raise ImportError('not on this machine')\n")
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = ['', 'certs', 'init', {str(tmp_path)!r}]; "
        "from gateway.cli import main; main()"
    )

    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=False)

    assert result.returncode == 1
    assert 'pip install "gateway[tls]"' in result.stderr
    assert "Traceback" not in result.stderr


def test_for_programs_each_of_them_has_json(tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    told = json.loads(made(folder, "--host", "plc.local", "--role", "historian", "--json"))
    assert (told["hosts"], told["roles"]) == (["plc.local"], ["historian"])
    assert all(Path(told["certificates"]["historian"][key]).exists() for key in ("cert", "key"))
    shown = json.loads(gateway("certs", "show", told["certificates"]["historian"]["cert"], "--json").stdout)
    assert (shown["subject"], shown["role"]) == ("CN=historian", "historian")
    assert shown["valid_from"] < shown["valid_until"]
    revoked = json.loads(gateway("certs", "revoke", str(folder), "historian", "--json").stdout)
    assert revoked == {"revoked": "historian", "serial": shown["serial"], "crl": told["crl"]}
