"""A running gateway asked through its control socket: views, traces, writes by name, events, trends.

Foreign clients and a foreign PLC (pymodbus) on real sockets; the command as people start it.
"""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.control.client import ask
from gateway.control.path import ControlError
from tests.support.devices import free_port, pymodbus_plc
from tests.support.process import Running, running
from tests.support.until import wait_until
from tests.support.wire import Wire, adu, hexed

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")

PLANT = """
server:
  listen: "tcp://127.0.0.1:0"
  access: [{{range: "holding:110", may: read}}, {{may: write}}]
audit: {{enabled: false}}
devices:
  plc:
    url: tcp://127.0.0.1:{port}
    timeout: 300ms
    every: 100ms
    tags:
      level: {{at: "holding:10", type: int16, scale: 0.1, as: float32, to: "holding:100", write: true, range: [0, 50], unit: m}}
      closed: {{at: "holding:12", type: uint16, to: "holding:110", write: true}}
      count: {{at: "holding:11", type: uint16, to: "holding:102"}}
  ghost:
    url: tcp://127.0.0.1:{nobody}
    tags: {{x: {{at: "holding:0", type: uint16, to: "holding:200"}}}}
units: {{9: {{forward: plc}}}}
"""  # noqa: E501


class Plant:
    def __init__(self, folder: Path, command: Running, plc: Any) -> None:
        self.folder = folder
        self.command = command
        self.plc = plc

    def ask(self, command: str, **arguments: Any) -> Any:
        return ask(self.folder / "state", command, **arguments)

    def value(self, tag: str) -> list[Any]:
        told = self.ask("tags")
        index = next(row["i"] for row in told["tags"] if row["name"] == tag)
        return next(row for row in told["values"] if row[0] == index)

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.ask("events")["events"] if event["kind"] == kind]


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    folder = tmp_path_factory.mktemp("views")
    with pymodbus_plc() as plc:
        yaml = PLANT.format(port=plc.port, nobody=free_port())
        with running(yaml, folder) as command:
            plant = Plant(folder, command, plc)
            wait_until(lambda: plant.value("level")[2] == "good", what="a first value")
            yield plant


def refusal(plant: Plant, command: str, **arguments: Any) -> str:
    with pytest.raises(ControlError) as refused:
        plant.ask(command, **arguments)
    return str(refused.value)


def test_tags_and_values_are_told_apart_from_what_changes(plant: Plant) -> None:
    told = plant.ask("tags")
    level, _, count, ghost = told["tags"]
    assert (level["device"], level["name"], level["at"], level["to"]) == (
        "plc",
        "level",
        "holding:10 (400011)",
        "1/holding:100 (400101)",
    )
    assert (level["unit"], level["range"], level["scale"], level["write"]) == ("m", [0, 50], 0.1, True)
    assert not count["write"]
    index, value, quality, time_ms, cause = plant.value("x")
    assert (index, value, quality, time_ms, cause) == (ghost["i"], None, "bad", None, "waiting")
    assert plant.ask("values")["generation"] == told["generation"]


def test_a_device_has_its_last_exchanges_in_words(plant: Plant) -> None:
    told = plant.ask("device", device="plc")
    newest = told["exchanges"][0]
    assert newest["request"] == "read holding:10..12 (400011..400013)"
    assert newest["answer"].startswith("3 registers: ")
    assert bytes.fromhex(newest["hex_answer"])[0] == 3
    assert 1 <= len(told["exchanges"]) <= 8
    assert told["device"]["state"] == "good"
    assert told["link"]["took"]["count"] > 0
    assert told["jobs"][0]["block"] == "holding:10..12 (400011..400013)"
    assert len(told["tags"]) == 3
    assert "there is no device nix" in refusal(plant, "device", device="nix")


def test_a_tag_is_written_in_engineering_units_and_shows_what_the_device_has(plant: Plant) -> None:
    assert plant.ask("write_tag", device="plc", tag="level", value=12.34)["outcome"] == "done"
    told = plant.ask("write_tag", device="plc", tag="level", value=20)
    assert told["before"] == pytest.approx(12.3)
    assert told["after"] == 20
    with Wire(plant.plc.port) as plc:
        assert plc.ask(hexed("03 000a 0001")) == hexed("03 02 00c8")
    write = plant.events("write")[-1]
    assert write["level"] == "info"
    assert "holding:100..101 (400101..400102)" in write["text"]
    assert write["details"]["client"] == "control socket"
    assert write["details"]["outcome"] == "done"


@pytest.mark.parametrize(
    ("tag", "value", "why"),
    [
        ("level", 51, "plc/level: 51 m is outside of its range, 0 to 50 m"),
        ("level", "high", "is no number"),
        ("count", 1, "has no `write: true`"),
        ("nix", 1, "there is no tag plc/nix"),
        ("closed", 1, "`server.access` does not let you write holding:110 (400111) of unit 1"),
    ],
)
def test_what_may_not_be_written_is_refused_with_words(plant: Plant, tag: str, value: Any, why: str) -> None:
    assert why in refusal(plant, "write_tag", device="plc", tag=tag, value=value)


def test_a_write_of_a_foreign_client_is_an_event_though_the_audits_file_is_off(plant: Plant) -> None:
    with Wire(plant.command.port) as wire:
        assert wire.ask(hexed("06 0066 0001")) == hexed("86 02")
        assert wire.ask(hexed("06 000b 0005"), 9) == hexed("06 000b 0005")
    refused, forwarded = wait_until(lambda: [each for each in plant.events("write") if each["details"]["unit"]][-2:])
    assert (refused["level"], refused["details"]["outcome"]) == ("warning", "refused 02 illegal data address")
    assert (forwarded["details"]["unit"], forwarded["details"]["new"]) == (9, [5])
    assert not (plant.folder / "state" / "audit.jsonl").exists()
    units = {row["unit"]: row for row in plant.ask("units")["units"]}
    assert (units[9]["kind"], units[9]["forward"], units[9]["to_unit"]) == ("forward", "plc", 1)
    assert units[9]["requests"] >= 1
    assert units[1]["exceptions"] >= 1
    assert units[1]["tables"]["holding"] == [[100, 102], [110, 110], [200, 200]]
    routes = plant.ask("status")["routes"]
    assert routes[0]["took"]["count"] == routes[0]["requests"] > 0


def test_registers_are_shown_one_by_one_with_the_exception_where_there_is_none(plant: Plant) -> None:
    told = plant.ask("registers", unit=1, table="holding", first=102, count=99)
    assert isinstance(told["values"][0], int)
    assert (told["codes"][0], told["codes"][1], told["codes"][98]) == (0, 2, 0x0B)
    assert told["values"][1] is told["values"][98] is None
    assert "passed through to plc" in refusal(plant, "registers", unit=9, table="holding", first=0, count=1)
    assert "there are coils, discrete" in refusal(plant, "registers", unit=1, table="bits", first=0, count=1)
    assert "1 to 1000" in refusal(plant, "registers", unit=1, table="holding", first=0, count=1001)


def test_a_trace_shows_both_wires_with_the_ids_that_travel(plant: Plant) -> None:
    device = plant.ask("trace_open", filter={"device": "plc"})["tap"]
    client = plant.ask("trace_open", filter={"side": "client"})["tap"]
    with Wire(plant.command.port) as wire:
        wire.send(adu(0x0A0B, 9, hexed("03 000a 0001")))
        assert wire.receive_adu().tid == 0x0A0B

    def frames(tap: int) -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = plant.ask("trace_take", tap=tap)["frames"]
        return told

    asked, answered = wait_until(lambda: len(found := frames(client)) >= 2 and found[:2])
    assert (asked["tid"], asked["unit_id"], asked["pdu"], asked["is_request"]) == (0x0A0B, 9, "03000a0001", True)
    assert (answered["tid"], answered["is_request"]) == (0x0A0B, False)
    passed = wait_until(lambda: [each for each in frames(device) if each["pdu"] == "03000a0001"])[0]
    back = wait_until(
        lambda: [each for each in frames(device) if each["tid"] == passed["tid"] and not each["is_request"]]
    )
    assert (passed["unit_id"], passed["peer"]) == (1, f"127.0.0.1:{plant.plc.port}")
    assert back[0]["pdu"] == answered["pdu"]
    assert back[0]["number"] > passed["number"]
    numbers = [each["number"] for each in frames(device)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert {each["where"] for each in frames(device)} == {f"tcp://127.0.0.1:{plant.plc.port}"}
    for tap in (device, client):
        assert plant.ask("trace_close", tap=tap) == {}
    assert "there is no trace" in refusal(plant, "trace_take", tap=device)


def test_no_more_traces_than_there_may_be_and_nonsense_is_refused(plant: Plant) -> None:
    taps = [plant.ask("trace_open")["tap"] for _ in range(4)]
    assert "4 traces are open already" in refusal(plant, "trace_open")
    for tap in taps:
        plant.ask("trace_close", tap=tap)
    assert "device nix is not in the configuration" in refusal(plant, "trace_open", filter={"device": "nix"})
    assert "a trace has no color" in refusal(plant, "trace_open", filter={"color": "red"})
    assert "different wires" in refusal(plant, "trace_open", filter={"device": "plc", "client": "10.0.0.1"})
    assert "unit 300" in refusal(plant, "trace_open", filter={"unit": 300})
    assert "`tap` is missing" in refusal(plant, "trace_take")


def test_clients_are_listed_with_what_they_ask(plant: Plant) -> None:
    with Wire(plant.command.port) as wire:
        wire.ask(hexed("03 0064 0003"))
        (row,) = plant.ask("clients")["clients"]
        assert row["peer"] == f"127.0.0.1:{wire.local_port}"
        assert row["last"] == "read holding:100..102 (400101..400103) of unit 1"
        assert (row["requests"], row["way"], row["unfetched"]) == (1, "tcp", 0)
    assert any(event["where"] == row["peer"] for event in plant.events("client"))


def test_there_are_no_trends_without_a_page(plant: Plant) -> None:
    assert "there is no `web` section" in refusal(plant, "trends", tags=["plc/level"])


def test_a_plc_that_dies_and_returns_is_told_with_its_reason(plant: Plant) -> None:
    assert any("waiting -> down" in event["text"] for event in plant.events("device") if event["where"] == "ghost")
    plant.plc.kill()
    down = wait_until(lambda: [each for each in plant.events("device") if each["details"]["to"] == "down"][1:])[0]
    assert (down["where"], down["details"]["from"]) == ("plc", "good")
    assert down["details"]["reason"]  # that it closed the connection, quietly or with a request out
    assert wait_until(lambda: [each for each in plant.events("link") if "refused the connection" in each["text"]][1:])
    wait_until(lambda: plant.value("level")[2] != "good")
    plant.plc.start()
    wait_until(lambda: plant.value("level")[2] == "good", 10.0)
    assert plant.events("link")[-1]["text"].startswith("answers again after")
    assert plant.events("device")[-1]["details"]["to"] == "good"


def test_reloads_applied_and_refused_are_told(plant: Plant) -> None:
    file = plant.folder / "plant.yaml"
    good = file.read_text(encoding="utf-8")
    file.write_text(good + "nonsense: 1\n", encoding="utf-8")
    plant.command.process.send_signal(signal.SIGHUP)
    refused = wait_until(lambda: plant.events("reload"))[0]
    assert (refused["level"], refused["where"]) == ("error", "plant.yaml")
    assert "reload refused" in refused["text"]
    assert not [each for each in plant.events("gateway") if "reload refused" in each["text"]]
    generation = plant.ask("tags")["generation"]
    file.write_text(good.replace("units:", "      # a comment\nunits:").replace("count:", "number:"), encoding="utf-8")
    plant.command.process.send_signal(signal.SIGHUP)
    applied = wait_until(lambda: plant.events("reload")[1:])[0]
    assert (applied["level"], applied["details"]["generation"]) == ("info", 1)
    assert "device plc" in applied["text"]
    assert plant.ask("tags")["generation"] != generation
    assert plant.value("number")


def test_answers_are_json_that_any_program_reads(plant: Plant) -> None:
    for command in ("status", "devices", "tags", "values", "units", "clients", "events"):
        assert json.dumps(plant.ask(command), allow_nan=False)
