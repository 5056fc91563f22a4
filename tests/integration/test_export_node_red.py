"""The exported Node-RED flow: its functions run by node, and (slow) all of it by Node-RED against a running gateway.

    python -m pytest tests/integration/test_export_node_red.py -m slow --timeout 600

fetches Node-RED and node-red-contrib-modbus from npm, once for a machine: 250 packages, half a minute.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.maps.dial import target_of
from gateway.maps.neutral import map_of
from gateway.maps.registry import writer
from gateway.maps.writers.javascript import encoder
from gateway.modbus.spec import Table
from tests.fuzz.test_maps import everything, fill, plant, registers_of
from tests.support.devices import free_port
from tests.support.needs import missing, require
from tests.support.oneshot import gateway
from tests.support.process import ROOT, running
from tests.support.until import wait_until

SCRIPT = ROOT / "tests" / "support" / "node_functions.js"
PACKAGES = {"node-red": "4.1.15", "node-red-contrib-modbus": "5.45.2", "modbus-serial": "8.0.25"}
OVERRIDES = {"@openp4nr/modbus-serial": "npm:modbus-serial@8.0.25"}
"""Without it npm finds no package that node-red-contrib-modbus asks for."""
TABLES = {"Coil": Table.COILS, "Input": Table.DISCRETE, "HoldingRegister": Table.HOLDING, "InputRegister": Table.INPUT}


def run(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    ran = subprocess.run(
        [require("node"), str(SCRIPT)], input=json.dumps(jobs), capture_output=True, text=True, timeout=30, check=True
    )
    found: list[dict[str, Any]] = json.loads(ran.stdout)
    return found


def test_the_functions_decode_every_type_in_every_order_and_encode_it_back(tmp_path: Path) -> None:
    config, data = plant(list(everything()), tmp_path)
    served = map_of(config)
    banks, values = fill(config, served, data)
    made = writer("node-red")(served, target_of(config, "1", "gw", None, "machine"))
    nodes = {node["id"]: node for node in json.loads(made.text)}
    jobs = []
    for node in nodes.values():
        if node["type"] == "modbus-read":
            bank, first, count = banks[int(node["unitid"])], int(node["adr"]), int(node["quantity"])
            function = 1 + list(TABLES).index(node["dataType"])
            answer = bank.answer(bytes((function, *first.to_bytes(2, "big"), *count.to_bytes(2, "big"))))
            assert isinstance(answer, bytes)
            assert answer[0] == function, node["name"]
            if TABLES[node["dataType"]].is_bits:
                payload: list[Any] = [bool(answer[2 + i // 8] >> i % 8 & 1) for i in range(count)]
            else:
                payload = [int.from_bytes(answer[2 + 2 * i : 4 + 2 * i], "big") for i in range(count)]
            jobs.append({"func": nodes[node["wires"][0][0]]["func"], "payload": payload})
    told: dict[str, Any] = {}
    for done in run(jobs):
        assert not done["errors"]
        told |= done["payload"]
    for name, value in values.items():
        got = told[f"d.{name}"]
        got = int(got) if isinstance(got, str) and not isinstance(value, str) else got
        assert got == value if isinstance(value, (bool, str)) else math.isclose(got, value, rel_tol=1e-6), name

    entries = [one for one in served.entries if one.name in values and not one.table.is_bits and one.bit is None]
    texts = [encoder(replace(one, writable=True)) for one in entries]
    encoded = run([{"func": text, "payload": told[one.path]} for text, one in zip(texts, entries, strict=True)])
    for one, done in zip(entries, encoded, strict=True):
        registers = registers_of(banks[one.unit], one.table, one.first, one.count)
        wanted = [int.from_bytes(registers[i : i + 2], "big") for i in range(0, len(registers), 2)]
        if one.type in ("int64", "uint64") and one.is_scaled:
            continue  # more digits than a number of JavaScript has
        assert not done["errors"], (one.path, done)
        assert done["payload"] == (wanted[0] if one.count == 1 else wanted), one


def test_what_does_not_fit_is_an_error_of_the_function_and_nothing_is_sent() -> None:
    short = "const data = Buffer.alloc(2);\n"
    assert run([{"func": short + "data.writeInt16BE(40000, 0);\nreturn msg;", "payload": 1}])[0]["errors"]


# -- Node-RED itself ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def node_red(request: pytest.FixtureRequest) -> Path:
    """Where Node-RED lies; fetched once for a machine."""
    if "slow" not in str(request.config.getoption("markexpr")):
        pytest.skip("takes minutes: python -m pytest -m slow")
    require("node")
    npm = require("npm")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gateway-tests"
    home = base / f"node-red-{PACKAGES['node-red']}"
    if not home.exists():
        base.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=base))
        manifest = {"private": True, "dependencies": PACKAGES, "overrides": OVERRIDES}
        (fresh / "package.json").write_text(json.dumps(manifest))
        fetch = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--omit=dev"]
        try:
            subprocess.run(fetch, cwd=fresh, capture_output=True, text=True, timeout=400, check=True)
            fresh.rename(home)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError) as error:
            shutil.rmtree(fresh)
            if not home.exists():
                missing(f"Node-RED from npm ({error})")
    return home


PLANT = """\
server: {listen: tcp://127.0.0.1:0, status: 1/input:100}
devices:
  press:
    url: sim://
    every: 200ms
    poll: [{read: holding:50..52, to: 1/holding:50}]
    tags:
      pressure: {at: holding:0, type: float32, order: CDAB, sim: "12.5", to: 1/input:0}
      raw: {at: holding:2, type: int32, order: CDAB, scale: 0.1, sim: "-7.5", as: raw, to: 1/input:2}
      running: {at: holding:4.3, type: bool, sim: "1", to: 1/discrete:7}
      target: {at: holding:10, type: float32, write: true, to: 1/holding:20}
  ghost: {url: "tcp://127.0.0.1:1", tags: {lost: {at: holding:0, type: int16, to: 1/input:10}}}
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_node_red_runs_the_flow_reads_the_values_and_writes_one(node_red: Path, tmp_path: Path) -> None:
    with running(PLANT, tmp_path) as plc:
        host = f"127.0.0.1:{plc.port}"
        exported = gateway("export", str(tmp_path / "plant.yaml"), "-f", "node-red", "--host", host)
        flow = json.loads(exported.stdout)
        witness = tmp_path / "values.jsonl"
        with Deployed(flow, witness, node_red, tmp_path):
            wait_until(lambda: values(witness).get("press.target") == 33.5, 60, "the written value")
            wait_until(lambda: values(witness).get("gateway.heartbeat", 0) > 5, 60, "more heartbeats")
            told = values(witness)
    assert (told["press.pressure"], told["press.raw"], told["press.running"]) == (12.5, -7.5, True)
    assert told["press.holding_50"] == 0
    assert "ghost.lost" not in told, "a device that is down takes no other along, and has no value"


def values(witness: Path) -> dict[str, Any]:
    """The last of each that the flow has seen."""
    found: dict[str, Any] = {}
    if witness.exists():
        for line in witness.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                found |= json.loads(line)
    return found


class Deployed:
    """`with Deployed(flow, ...)`: Node-RED runs it, with nodes beside that write values to a file and set one."""

    def __init__(self, flow: list[dict[str, Any]], witness: Path, home: Path, folder: Path) -> None:
        tab = next(node["id"] for node in flow if node["type"] == "tab")
        debug = next(node for node in flow if node["type"] == "debug")
        for node in flow:
            if node.get("wires") == [[debug["id"]]]:
                node["wires"][0].append("as-text")
        setter = next(node for node in flow if node.get("name") == "set press.target")
        common = {"z": tab, "x": 900, "y": 40}
        self._flow = [
            *flow,
            {"id": "as-text", "type": "json", "property": "payload", "action": "str", "wires": [["file"]]} | common,
            {"id": "file", "type": "file", "filename": str(witness), "filenameType": "str", "appendNewline": True}
            | {"overwriteFile": "false", "createDir": False, "wires": [[]]}
            | common,
            {"id": "go", "type": "inject", "props": [{"p": "payload"}], "once": True, "onceDelay": 2, "repeat": ""}
            | {"payload": "33.5", "payloadType": "num", "wires": [[setter["id"]]]}
            | common,
        ]
        self._home, self._folder, self._port = home, folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> None:
        settings = {
            "uiPort": self._port,
            "uiHost": "127.0.0.1",
            "userDir": str(self._folder),
            "flowFile": "flows.json",
            "credentialSecret": False,
            "telemetry": {"enabled": False},
            "nodesDir": str(self._home / "node_modules" / "node-red-contrib-modbus"),
        }
        path = self._folder / "settings.js"
        path.write_text(f"module.exports = {json.dumps(settings)}")
        with (self._folder / "node-red.log").open("wb") as log:
            self._process = subprocess.Popen(
                [require("node"), str(self._home / "node_modules" / "node-red" / "red.js"), "--settings", str(path)],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_until(lambda: self._ask("settings") is not None, 60, "Node-RED's HTTP interface")
            answer = self._ask("flows", self._flow)
            assert answer is not None, (self._folder / "node-red.log").read_text()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *exc: object) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, path: str, body: Any = None) -> bytes | None:
        """Node-RED's answer; None while there is none."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return bytes(answer.read())
        except (urllib.error.URLError, OSError):
            return None
