"""`gateway check`, `gateway schema` and what every command says about itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.oneshot import gateway

PLANT = """\
version: "0.4"
server: {listen: ["tcp://127.0.0.1:5020", "tcp://[::1]:5021"], status: 1/input:100}
units:
  1: {holding: 0..99, input: 0..199}
  7: {coils: [0..9, 20..29]}
  8: {forward: press, functions: [3, 4], cache: 200ms}
devices:
  press:
    url: tcp://192.168.1.10
    unit: 3
    poll: [{read: holding:0..9, to: holding:0, every: 500ms, write: through}]
    watchdog: {write: holding:99}
    tags:
      pressure: {at: holding:60, type: float32, order: CDAB, unit: bar, every: 2s, to: input:0}
      "[red]level": {at: 40021, type: int16, as: float32, to: 1/input:10, description: Tank 3}
  away: {enabled: false, url: "sim://", tags: {x: {at: holding:0, type: uint16, to: input:50}}}
"""


def check(directory: Path, yaml: str, *arguments: str, code: int = 0) -> tuple[str, str]:
    """Standard output and standard error of `gateway check`, which ends with `code`."""
    path = directory / "plant.yaml"
    path.write_text(yaml, encoding="utf-8")
    result = gateway("check", str(path), *arguments)
    assert result.returncode == code, result.stderr
    return result.stdout, result.stderr


def row(output: str, first: str) -> list[str]:
    """The cells of the table row that begins with `first`."""
    rows = ([cell.strip() for cell in line.strip("│|").split("│")] for line in output.splitlines())
    return next(cells for cells in rows if cells[0] == first)


def test_a_good_plant_is_summed_up(tmp_path: Path) -> None:
    output, errors = check(tmp_path, PLANT)
    assert errors == ""
    assert "listens on tcp://127.0.0.1:5020, tcp://[::1]:5021" in output
    assert row(output, "1") == ["1", "-", "-", "0..99", "0..199"]
    assert row(output, "7") == ["7", "0..9, 20..29", "-", "-", "-"]
    assert row(output, "press")[:5] == ["press", "tcp://192.168.1.10:502", "3", "1", "2"]
    assert row(output, "press")[5:8] == ["1", "1", "500ms, 1s, 2s"]
    assert row(output, "8") == ["8", "press", "-", "3, 4", "200ms"]
    assert row(output, "away")[-1] == "disabled"
    assert "pressure" not in output


def test_tags_are_listed_with_both_notations_and_their_place(tmp_path: Path) -> None:
    output, _ = check(tmp_path, PLANT, "--tags")
    assert next(line for line in output.splitlines() if "pressure" in line).split() == (
        ["press", "pressure", "holding:60", "(400061)", "float32", "CDAB", "2s", "1/input:0", "(300001)", "bar"]
    )
    assert "[red]level" in output, "a name is no markup"
    assert "int16 as float32" in output


def test_json_has_it_all(tmp_path: Path) -> None:
    output, _ = check(tmp_path, PLANT, "--json")
    told = json.loads(output)
    assert told["ok"] is True
    assert told["units"]["7"]["coils"] == ["0..9", "20..29"]
    assert told["devices"]["press"]["intervals_s"] == [0.5, 1.0, 2.0]
    assert told["tags"][1]["to"] == "1/input:10 (300011)"


def test_every_mistake_stands_on_a_line_with_its_place(tmp_path: Path) -> None:
    yaml = "devices:\n  press:\n    ulr: sim://\n    tags:\n      level: {at: holding:1, type: flot32}\n"
    output, errors = check(tmp_path, yaml, code=2)
    assert output == ""
    path = tmp_path / "plant.yaml"
    assert any(line.startswith(f"{path}:3:5: devices.press.ulr: ") for line in errors.splitlines())
    assert any(line.startswith(f"{path}:5:36: devices.press.tags.level.type: ") for line in errors.splitlines())


def test_mistakes_as_json(tmp_path: Path) -> None:
    output, errors = check(tmp_path, "srver: {}\n", "--json", code=2)
    (problem,) = json.loads(output)["problems"]
    assert (problem["line"], problem["column"], problem["path"]) == (1, 1, "srver")
    assert errors == ""


def test_warnings_are_shown_and_do_not_fail(tmp_path: Path) -> None:
    yaml = "devices: {press: {url: 'sim://', tags: {x: {at: 'holding:40101', type: int16}}}}"
    output, errors = check(tmp_path, yaml)
    assert errors.startswith("warning: ")
    assert "holding:100" in errors
    assert output.endswith("ok\n")


RULES = """\
server:
  listen: [tcp://0.0.0.0:502, {url: "udp://0.0.0.0:503", access: [{may: read}]}]
  access:
    - {from: 10.1.0.0/16, range: [holding:0..9, coils:0], unit: [1, 5..6], function: [3, 16], may: write}
    - {from: [10.0.0.0/8, "::1", 1.2.3.4], table: [holding, input], may: read}
    - {from: 10.9.9.9, unit: 1, may: nothing}
audit: {enabled: false}
units:
  1: {holding: 100, coils: 8, files: {4: , 5: {path: x.dat, read_only: true}}, fifo: {holding:10: }}
  5: {coils: 1}
"""


def test_rules_are_sentences(tmp_path: Path) -> None:
    output, errors = check(tmp_path, RULES)
    assert errors == ""
    assert output.splitlines()[1:8] == [
        "who may do what on tcp://0.0.0.0:502, the first that fits:",
        "  10.1.0.0/16 may read and write holding:0..9 (400001..400010) and coils:0 (000001) in units 1 and 5..6, "
        "with functions 3 and 16",
        "  10.0.0.0/8, ::1 or 1.2.3.4 may read holding and input",
        "  10.9.9.9 may do nothing in unit 1",
        "  nobody else may do anything",
        "anybody may read on udp://0.0.0.0:503",
        "writes are not kept (audit)",
    ]
    assert "unit 1: file 5, 10000 records, read only, in x.dat" in output
    assert "unit 1: queue holding:10..41 (400011..400042)" in output


def test_without_rules_everybody_may_do_everything(tmp_path: Path) -> None:
    output, _ = check(tmp_path, PLANT)
    assert "everybody may read and write\n" in output
    assert "who wrote what is kept in audit.jsonl" in output
    told = json.loads(check(tmp_path, PLANT, "--json")[0])
    assert told["access"] == [{"listen": told["listen"], "rules": ["everybody may read and write"]}]


def test_certificates_are_looked_into(tmp_path: Path) -> None:
    plant = """\
server: {listen: "tls://127.0.0.1:8020"}
tls: {cert: certs/server.pem, key: certs/server.key, ca: certs/ca.pem}
units: {1: {holding: 1}}
"""
    output, errors = check(tmp_path, plant, code=2)
    assert output == ""
    lines = errors.splitlines()
    assert lines[0].startswith(
        f"{tmp_path / 'plant.yaml'}:2:13: tls.cert: {tmp_path}/certs/server.pem: there is no such file"
    )
    assert lines[-1] == "3 mistakes; nothing was started"
    made = gateway("certs", "init", str(tmp_path / "certs"))
    assert made.returncode == 0, made.stderr
    check(tmp_path, plant)
    (tmp_path / "certs" / "server.key").chmod(0o644)
    _, errors = check(tmp_path, plant, code=2)
    assert f":2:36: tls.key: {tmp_path}/certs/server.key: mode 0644 lets every user" in errors
    told = json.loads(check(tmp_path, plant, "--json", code=2)[0])
    assert told["problems"][0]["path"] == "tls.key"
    result = gateway("--config", str(tmp_path / "plant.yaml"))
    assert result.returncode == 2
    assert "tls.key" in result.stderr, "a start says the same"


LACKING = """\
server: {listen: [tcp://127.0.0.1:5020, "rtu:///dev/ttyS9"]}
tls: {cert: a.pem, key: a.key, ca: ca.pem}
devices:
  meter: {url: "rtu:///dev/ttyS8", poll: [{read: "holding:0", to: "1/holding:0"}]}
  plc: {url: "tls://127.0.0.1", poll: [{read: "holding:0", to: "1/holding:1"}]}
  off: {enabled: false, url: "ascii:///dev/ttyS7", poll: [{read: "holding:0", to: "1/holding:2"}]}
"""


def test_a_package_that_is_not_installed_is_told_where_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("serial", "cryptography"):
        (tmp_path / f"{package}.py").write_text("raise ImportError('not on this machine')\n")
    for name in ("a.pem", "a.key", "ca.pem"):
        (tmp_path / name).write_text("")
    (tmp_path / "a.key").chmod(0o600)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    _, errors = check(tmp_path, LACKING, code=2)
    path = tmp_path / "plant.yaml"
    lines = errors.splitlines()
    serial, tls = 'pip install "gateway[serial]"', "a.pem: there is no certificate in it"
    assert lines[0].startswith(f"{path}:1:41: server.listen[1]: ")
    assert serial in lines[0]
    assert lines[1].startswith(f"{path}:4:16: devices.meter.url: ")
    assert serial in lines[1]
    assert lines[2].startswith(f"{path}:2:13: tls.cert: ")
    assert tls in lines[2]
    assert not any("off" in line for line in lines), "a disabled device needs nothing"
    result = gateway("--config", str(path), "--simulate")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1), "simulated devices need nothing, listeners do"
    assert "server.listen[1]" in result.stderr


@pytest.mark.parametrize("path", ["none.yaml", "."])
def test_a_file_that_cannot_be_read_is_told(path: str) -> None:
    result = gateway("check", path)
    assert result.returncode == 2
    assert path in result.stderr


def test_the_schema_is_json() -> None:
    result = gateway("schema")
    assert result.returncode == 0
    assert {"server", "units", "links", "devices"} <= json.loads(result.stdout)["properties"].keys()


@pytest.mark.parametrize("command", [(), ("check",), ("schema",), ("simulate",), ("read",), ("write",)])
def test_help_has_two_examples_and_the_exit_codes(command: tuple[str, ...]) -> None:
    result = gateway(*command, "--help")
    assert result.returncode == 0
    examples = result.stdout.split("Examples:")[1].split("\n\n")
    assert all(example.strip().startswith(" ".join(("gateway", *command))) for example in examples[1:3])
    assert "Exit codes: 0" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ((), "Usage: gateway"),
        (("--simulate",), "--config plant.yaml"),
        (("--watch",), "--config plant.yaml"),
        (("--config", "x.yaml", "check", "x.yaml"), "do not go with `check`"),
        (("--config", "x.yaml", "--log-format", "xml"), "text nor json"),
        (("chek", "x.yaml"), "chek"),
    ],
)
def test_a_wrong_command_line_ends_with_2(arguments: tuple[str, ...], hint: str) -> None:
    result = gateway(*arguments)
    assert result.returncode == 2
    assert hint in result.stdout + result.stderr
