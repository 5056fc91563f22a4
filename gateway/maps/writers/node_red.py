"""A Node-RED flow for node-red-contrib-modbus: reads what is side by side, decodes it, writes what may be written.

A `modbus-read` polls each run of values of one device, a function behind it makes an object of them (`{"press.level":
12.5}`), all of them lead to one debug node, from where one goes on. For each writable value there is a function that
encodes `msg.payload` and a `modbus-write`. Addresses count from 0. Runs have no gaps: a place that does not exist, or
that has no value, would take the whole request along.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from gateway.maps.names import Names
from gateway.maps.neutral import Entry, Map
from gateway.maps.target import Door, Notes, Target, Written
from gateway.maps.writers.javascript import decoder, encoder
from gateway.modbus.spec import MAX_READ_BITS, MAX_READ_REGISTERS, Table

_READS = {Table.COILS: "Coil", Table.DISCRETE: "Input", Table.HOLDING: "HoldingRegister", Table.INPUT: "InputRegister"}
_DEFAULT_RATE_MS = 1000
_LEFT, _STEP_X, _STEP_Y = 180, 280, 60


def write(served: Map, target: Target) -> Written:
    notes = Notes("Node-RED")
    door = target.door("Node-RED", "tcp", "rtu+tcp")
    names = Names(" -~", max_length=200)
    flow = _Flow(served.title, door)
    keyed = [(entry, names.unique(entry.path)) for entry in served.values()]
    for run in _runs(keyed):
        flow.read(run)
    for entry, name in keyed:
        if entry.writable:
            text = encoder(entry)
            if text is None:
                notes.remark(entry, "read only here: its nodes cannot write one bit of a register")
            else:
                flow.write(entry, name, text)
    if any(entry.type in ("int64", "uint64") for entry, _ in keyed):
        notes.say("64-bit integers above 9007199254740991 come as text: a number of JavaScript has no more digits")
    return Written(json.dumps(flow.nodes, indent=2, ensure_ascii=False) + "\n", notes.all(), door)


Keyed = tuple[Entry, str]
"""An entry and its name in Node-RED."""


def _runs(keyed: Sequence[Keyed]) -> Iterator[list[Keyed]]:
    """What one request reads: side by side, of one device, at one rate."""

    def group(pair: Keyed) -> tuple[str, int, Table, float]:
        return pair[0].device, pair[0].unit, pair[0].table, pair[0].every_s

    ordered = sorted(keyed, key=lambda pair: (*group(pair), pair[0].first, pair[0].bit or 0))
    for key, members in groupby(ordered, key=group):
        most = MAX_READ_BITS if key[2].is_bits else MAX_READ_REGISTERS
        run: list[Keyed] = []
        stop = 0
        for pair in members:
            entry = pair[0]
            if run and (entry.first > stop or entry.stop - run[0][0].first > most):
                yield run
                run = []
            stop = max(stop, entry.stop) if run else entry.stop
            run.append(pair)
        yield run


class _Flow:
    """The nodes of one tab, each with the id that it has at every export."""

    def __init__(self, title: str, door: Door) -> None:
        self._tab, self._client, self._debug = _id("tab", title), _id("client", title), _id("debug", title)
        self._title = title
        self._y = 100
        self.nodes: list[dict[str, Any]] = [
            {"id": self._tab, "type": "tab", "label": title, "disabled": False, "info": (__doc__ or "").strip()},
            {
                "id": self._client,
                "type": "modbus-client",
                "name": title,
                "clienttype": "tcp",
                "bufferCommands": True,
                "stateLogEnabled": False,
                "queueLogEnabled": False,
                "failureLogEnabled": True,
                "tcpHost": door.host,
                "tcpPort": str(door.port),
                "tcpType": "DEFAULT" if door.scheme == "tcp" else "TCP-RTU-BUFFERED",
                "serialPort": "/dev/ttyUSB",
                "serialType": "RTU-BUFFERD",
                "serialBaudrate": "9600",
                "serialDatabits": "8",
                "serialStopbits": "1",
                "serialParity": "none",
                "serialConnectionDelay": "100",
                "serialAsciiResponseStartDelimiter": "0x3A",
                "unit_id": "1",
                "commandDelay": "1",
                "clientTimeout": "3000",
                "reconnectOnTimeout": True,
                "reconnectTimeout": "2000",
                "parallelUnitIdsAllowed": True,
                "showErrors": False,
                "showWarnings": True,
                "showLogs": True,
            },
            self._node(
                "debug",
                self._debug,
                "values",
                2,
                active=False,
                tosidebar=True,
                console=False,
                tostatus=False,
                complete="payload",
                targetType="msg",
                statusVal="",
                statusType="auto",
                wires=[],
            ),
        ]

    def read(self, run: Sequence[Keyed]) -> None:
        first = run[0][0]
        stop = max(entry.stop for entry, _ in run)
        place = f"{first.unit}/{first.table.word}:{first.first}" + (f"..{stop - 1}" if stop - first.first > 1 else "")
        decode = _id("decode", f"{self._title} {first.device} {place} {first.every_s}")
        self.nodes += [
            self._node(
                "modbus-read",
                _id("read", f"{self._title} {first.device} {place} {first.every_s}"),
                place,
                0,
                topic=first.device,
                showStatusActivities=False,
                logIOActivities=False,
                showErrors=False,
                showWarnings=True,
                unitid=str(first.unit),
                dataType=_READS[first.table],
                adr=str(first.first),
                quantity=str(stop - first.first),
                rate=str(round(first.every_s * 1000) or _DEFAULT_RATE_MS),
                rateUnit="ms",
                delayOnStart=False,
                enableDeformedMessages=False,
                startDelayTime="",
                server=self._client,
                useIOFile=False,
                ioFile="",
                useIOForPayload=False,
                emptyMsgOnFail=False,
                wires=[[decode], []],
            ),
            self._function(decode, first.device, 1, decoder(run, first.first), [[self._debug]]),
        ]
        self._y += _STEP_Y

    def write(self, entry: Entry, name: str, text: str) -> None:
        write = _id("write", f"{self._title} {name}")
        registers = "HoldingRegister" if entry.count == 1 else "MHoldingRegisters"
        self.nodes += [
            self._function(_id("encode", f"{self._title} {name}"), f"set {name}", 0, text, [[write]]),
            self._node(
                "modbus-write",
                write,
                name,
                1,
                showStatusActivities=False,
                showErrors=True,
                showWarnings=True,
                unitid=str(entry.unit),
                dataType="Coil" if entry.table.is_bits else registers,
                adr=str(entry.first),
                quantity=str(entry.count),
                server=self._client,
                emptyMsgOnFail=False,
                keepMsgProperties=False,
                delayOnStart=False,
                startDelayTime="",
                wires=[[], []],
            ),
        ]
        self._y += _STEP_Y

    def _function(self, node_id: str, name: str, column: int, text: str, wires: list[list[str]]) -> dict[str, Any]:
        return self._node(
            "function",
            node_id,
            name,
            column,
            func=text,
            outputs=1,
            timeout=0,
            noerr=0,
            initialize="",
            finalize="",
            libs=[],
            wires=wires,
        )

    def _node(self, kind: str, node_id: str, name: str, column: int, **settings: Any) -> dict[str, Any]:
        place = {"x": _LEFT + column * _STEP_X, "y": self._y}
        return {"id": node_id, "type": kind, "z": self._tab, "name": name, **settings, **place}


def _id(kind: str, text: str) -> str:
    return hashlib.sha256(f"{kind} {text}".encode()).hexdigest()[:16]
