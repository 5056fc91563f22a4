"""Every quirk of protocol.md section 6: what a device does, what the gateway then serves, and what it logs.

A table. Each row is a device (or two on one connection) and has a unit id of the gateway's to itself; one process
serves all rows whose device the simulation can play (`faults`), one all rows whose device is scripted. `observed` reads
every row over and over while their devices are polled, so a value that is wrong for a moment is seen, whoever else
waits; then each row is judged. `0b` before the first good poll is right for every row.

Not here because no key of the configuration asks for them: a greatest age of connections, and a check of the device's
identity after a reconnect (6.1).
"""

from __future__ import annotations

import re
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.support.devices import Behaviour, ScriptedDevice, echo_zeros, scripted
from tests.support.process import Running, running
from tests.support.sim import serving
from tests.support.until import wait_until
from tests.support.wire import Wire, adu, hexed

Read = tuple[int, int, int]
"""Function, first address, count, at the gateway."""

HOLDING, INPUT, COILS = 3, 4, 1
TARGET_FAILED = "0b"
POLLS = 15
"""So many requests each device must have been asked before its row is judged."""
OBSERVED_S = 20.0
"""No row needs as long on an idle machine; those that never come true are judged then."""

PLAIN = (
    "tags: {a: {at: holding:0, type: uint16, sim: 111, to: U/holding:0},"
    " b: {at: holding:50, type: uint16, sim: 222, to: U/holding:1},"
    " c: {at: input:0, type: uint32, sim: 333, to: U/input:0}}"
)
"""Three requests, the answers of two of which look alike. `U` is the row's own unit id."""
PLAIN_SERVED = {(HOLDING, 0, 2): "006f00de", (INPUT, 0, 2): "0000014d"}
PLAIN_FAILED = {(HOLDING, 0, 1): TARGET_FAILED, (HOLDING, 1, 1): TARGET_FAILED, (INPUT, 0, 2): TARGET_FAILED}
TWO_SHAPES = (
    "tags: {a: {at: holding:0, type: uint16, sim: 111, to: U/holding:0},"
    " c: {at: input:0, type: uint32, sim: 333, to: U/input:0}}"
)
LOOK_ALIKE = (
    "tags: {a: {at: holding:0, type: uint16, sim: 111, to: U/holding:0},"
    " b: {at: holding:50, type: uint16, sim: 222, to: U/holding:1}}"
)
LOOK_ALIKE_SERVED = {(HOLDING, 0, 2): "006f00de"}
TWO_SHAPES_SERVED = {(HOLDING, 0, 1): "006f", (INPUT, 0, 2): "0000014d"}
SCRIPTED = "poll: [{read: 'holding:3..4', to: 'U/holding:0'}, {read: 'input:5..7', to: 'U/input:0'}]"
SCRIPTED_SERVED = {(HOLDING, 0, 2): "00030004", (INPUT, 0, 3): "000500060007"}
SCRIPTED_FAILED = {(HOLDING, 0, 1): TARGET_FAILED, (INPUT, 0, 1): TARGET_FAILED}
ALL_REFUSED = "refuse: {'holding:0..99': %d, 'input:0..99': %d}"
PATIENT, HASTY = "timeout: 2s", "timeout: 300ms"
NEIGHBOUR = f"{PATIENT}, tags: {{x: {{at: holding:0, type: uint16, sim: 13, to: U/holding:100}}}}"
NEIGHBOUR_SERVED = {(HOLDING, 100, 1): "000d"}
SILENT = r"did not answer|time-outs in a row|no answer"


@dataclass(frozen=True)
class Quirk:
    name: str
    """Of the device; with two on one connection the beginning of both names."""
    does: str
    """What the device does, for the one who reads a failure."""
    keys: str
    """Of the device in the YAML, besides those every row has (`device`)."""
    serves: dict[Read, str]
    """Data, or a single byte: the exception code. What the gateway serves in the end, and always afterwards."""
    logs: str | None = None
    """A warning that must come. No warning comes twice, and none that is not named here or in `may_log`."""
    may_log: str | None = None
    """Warnings that may come besides."""
    learns: bool = False
    """What can be read is found out: until then it is refused; there is one line about it, and no other."""
    may_fail: bool = False
    """A request may fail now and then although there is nothing to log."""
    tells_often: bool = False
    """Its troubles come and go, and so does the line about them."""
    beside: str | None = None
    """The keys of a second device, on the same connection with unit id 2."""
    polls: int = POLLS
    behave: Behaviour | None = None
    """Of a scripted device; None: it is simulated."""
    device: Callable[[Behaviour], ScriptedDevice] = ScriptedDevice
    judge: Callable[[ScriptedDevice], None] = field(default=lambda device: None)


# -- simulated devices ------------------------------------------------------------------------------------------------

SIMULATED = [
    Quirk(
        "single",
        "accepts one TCP connection only (6.1)",
        f"{PATIENT}, faults: {{one_connection: on}}, {PLAIN}",
        PLAIN_SERVED | NEIGHBOUR_SERVED,
        beside=NEIGHBOUR,
    ),
    Quirk(
        "narrow",
        "drops what arrives while it works on a request (6.1)",
        f"{PATIENT}, faults: {{one_at_a_time: on, delay: 20ms}}, {PLAIN}",
        PLAIN_SERVED | NEIGHBOUR_SERVED,
        beside=f"faults: {{delay: 30ms}}, {NEIGHBOUR}",
    ),
    Quirk(
        "zero-tid",
        "answers with transaction id 0 (6.1), and is not accepted so",
        f"{HASTY}, faults: {{zero_tid: on}}, {PLAIN}",
        PLAIN_FAILED,
        logs=SILENT,
        may_log="no good read yet",
    ),
    Quirk(
        "zero-tid-accepted",
        "answers with transaction id 0 (6.1)",
        f"{PATIENT}, accept: tid_zero, faults: {{zero_tid: on}}, {PLAIN}",
        PLAIN_SERVED,
    ),
    Quirk(
        "zero-tid-late",
        "answers with transaction id 0, and every seventh too late (6.3): a new connection, never the old answer",
        f"{HASTY}, accept: tid_zero, faults: {{zero_tid: on, late: 7, late_by: 450ms}}, {PLAIN}",
        PLAIN_SERVED,
        polls=30,
    ),
    Quirk(
        "next-tid",
        "answers with the next transaction id (6.1)",
        f"{HASTY}, faults: {{wrong_tid: 1}}, {PLAIN}",
        PLAIN_FAILED,
        logs=SILENT,
        may_log="no good read yet",
    ),
    Quirk(
        "sometimes-next-tid",
        "answers every fifth request with the next transaction id (6.3): discarded, asked again",
        f"{HASTY}, faults: {{wrong_tid: 5}}, {PLAIN}",
        PLAIN_SERVED,
        polls=30,
    ),
    Quirk(
        "lag-seen",
        "lags by one after a request that it did not answer (6.1); the answers' shapes differ, so it shows",
        f"{HASTY}, faults: {{lag: on, no_answer: 9}}, {TWO_SHAPES}",
        TWO_SHAPES_SERVED,
        may_log="trying on",
        polls=30,
        tells_often=True,
    ),
    Quirk(
        "lag-unseen",
        "lags by one after a request that it did not answer (6.1); nothing shows it: close after any time-out",
        f"{HASTY}, faults: {{lag: on, no_answer: 9}}, {LOOK_ALIKE}",
        LOOK_ALIKE_SERVED,
        may_log="trying on",
        polls=30,
        tells_often=True,
    ),
    Quirk(
        "lag-accepted",
        "lags by one, where transaction ids are not looked at (6.1): close after any time-out",
        f"{HASTY}, accept: tid_zero, faults: {{lag: on, no_answer: 9, zero_tid: on}}, {LOOK_ALIKE}",
        LOOK_ALIKE_SERVED,
        polls=30,
    ),
    Quirk(
        "next-unit",
        "answers with another unit id (6.1), and is not accepted so",
        f"{HASTY}, faults: {{wrong_unit: 1}}, {PLAIN}",
        PLAIN_FAILED,
        logs=SILENT,
        may_log="no good read yet",
    ),
    Quirk(
        "next-unit-accepted",
        "answers with another unit id (6.1)",
        f"{PATIENT}, accept: any_unit, faults: {{wrong_unit: 1}}, {PLAIN}",
        PLAIN_SERVED,
    ),
    Quirk(
        "sometimes-next-unit",
        "answers every fifth request with another unit id (6.3): discarded, asked again",
        f"{HASTY}, faults: {{wrong_unit: 5}}, {PLAIN}",
        PLAIN_SERVED,
        polls=30,
    ),
    Quirk("split", "sends byte by byte (6.1)", f"{PATIENT}, faults: {{split: on}}, {PLAIN}", PLAIN_SERVED),
    Quirk(
        "joined",
        "sends several answers in one segment (6.1)",
        f"{PATIENT}, in_flight: 4, faults: {{join: on, delay: 20ms}}, {PLAIN}",
        PLAIN_SERVED,
    ),
    Quirk(
        "idle",
        "closes a connection on which nothing is asked for 300 ms (6.1): no news, no gap",
        f"{PATIENT}, every: 700ms, faults: {{idle_close: 300ms}}, {PLAIN}",
        PLAIN_SERVED,
        polls=6,
        may_fail=True,
    ),
    Quirk(
        "small",
        "refuses reads of more than 30 registers with 02 (6.1): found out",
        f"{PATIENT}, faults: {{max_registers: 30}}, poll: [{{read: 'holding:0..99', to: 'U/holding:0'}}],"
        " tags: {last: {at: holding:99, type: uint16, sim: 7}}",
        {(HOLDING, 0, 100): "0000" * 99 + "0007"},
        logs=r"holding:0\.\.99 .*is refused in one request and read in.*no more at once.*max_registers",
        learns=True,
    ),
    Quirk(
        "small-known",
        "refuses reads of more than 30 registers with 02 (6.1): it was told",
        f"{PATIENT}, max_registers: 30, max_bits: 480, faults: {{max_registers: 30}},"
        " poll: [{read: 'holding:0..99', to: 'U/holding:0'}, {read: 'coils:0..999', to: 'U/coils:0'}],"
        " tags: {last: {at: holding:99, type: uint16, sim: 7}}",
        {(HOLDING, 0, 100): "0000" * 99 + "0007", (COILS, 0, 1000): "00" * 125},
    ),
    Quirk(
        "hole",
        "refuses a block with 02 because of one register (6.1, 6.6)",
        f"{PATIENT}, faults: {{refuse: {{'holding:5': 2}}}}, poll: [{{read: 'holding:0..9', to: 'U/holding:0'}}]",
        {(HOLDING, 0, 5): "0000" * 5, (HOLDING, 5, 1): "02", (HOLDING, 6, 4): "0000" * 4, (HOLDING, 0, 10): "02"},
        logs=r"holding:5 \(400006\).*02 illegal data address.*holding:0\.\.4.*holding:6\.\.9",
        learns=True,
    ),
    Quirk(
        "hole-of-bits",
        "refuses a block of coils with 02 because of one",
        f"{PATIENT}, faults: {{refuse: {{'coils:5': 2}}}}, poll: [{{read: 'coils:0..9', to: 'U/coils:0'}}]",
        {(COILS, 0, 5): "00", (COILS, 5, 1): "02", (COILS, 6, 4): "00"},
        logs=r"coils:5 \(000006\).*02 illegal data address.*coils:0\.\.4.*coils:6\.\.9",
        learns=True,
    ),
    Quirk(
        "hole-of-a-tag",
        "refuses a block of tags with 02 because of an option it does not have (6.1): a tag is never cut",
        f"{PATIENT}, faults: {{refuse: {{'holding:2': 2}}}}, tags: {{"
        "a: {at: holding:0, type: uint16, sim: 1, to: U/holding:0},"
        " b: {at: holding:1, type: uint32, sim: 2, to: U/holding:1},"
        " c: {at: holding:3, type: uint32, sim: 3, to: U/holding:3}}",
        {(HOLDING, 0, 1): "0001", (HOLDING, 1, 2): "02", (HOLDING, 3, 2): "00000003"},
        logs=r"holding:1\.\.2 \(400002\.\.400003\).*02 illegal data address",
        learns=True,
    ),
    Quirk(
        "hole-in-a-gap",
        "refuses a block with 02 because of a register that nobody asked for (6.6)",
        f"{PATIENT}, faults: {{refuse: {{'holding:3': 2}}}}, tags: {{"
        "a: {at: holding:0, type: uint16, sim: 1, to: U/holding:0},"
        " b: {at: holding:6, type: uint16, sim: 2, to: U/holding:1}}",
        {(HOLDING, 0, 2): "00010002"},
        logs=r"holding:0\.\.6 .*is refused in one request and read in 2.*max_gap: 0",
        learns=True,
    ),
    Quirk(
        "holes",
        "refuses three registers of a block with 02",
        f"{PATIENT}, faults: {{refuse: {{'holding:0': 2, 'holding:40..41': 2}}}},"
        " poll: [{read: 'holding:0..59', to: 'U/holding:0'}], tags: {last: {at: holding:59, type: uint16, sim: 7}}",
        {
            (HOLDING, 0, 1): "02",
            (HOLDING, 1, 39): "0000" * 39,
            (HOLDING, 40, 1): "02",
            (HOLDING, 41, 1): "02",
            (HOLDING, 42, 18): "0000" * 17 + "0007",
        },
        logs=r"holding:0 \(400001\).*02 illegal data address",
        learns=True,
    ),
    Quirk(
        "hole-03",
        "refuses a block with 03 because of one register (6.5)",
        f"{PATIENT}, faults: {{refuse: {{'holding:5': 3}}}}, poll: [{{read: 'holding:0..9', to: 'U/holding:0'}}]",
        {(HOLDING, 0, 5): "0000" * 5, (HOLDING, 5, 1): "03", (HOLDING, 6, 4): "0000" * 4},
        logs=r"holding:5 \(400006\).*03 illegal data value",
        learns=True,
    ),
    Quirk(
        "missing",
        "answers missing points with 8000h (6.1): no value, its neighbours have theirs",
        f"{PATIENT}, tags: {{a: {{at: holding:0, type: int16, sim: 5, to: U/holding:0}},"
        " b: {at: holding:1, type: int16, sim: -32768, no_value: 0x8000, to: U/holding:1},"
        " c: {at: holding:2, type: int16, sim: 6, to: U/holding:2}}",
        {(HOLDING, 0, 1): "0005", (HOLDING, 1, 1): TARGET_FAILED, (HOLDING, 2, 1): "0006"},
    ),
    Quirk(
        "busy",
        "is busy (06) at every other request (6.1, 6.5): asked again after a pause, not at the next turn; never a zero",
        f"{PATIENT}, every: 60s, faults: {{busy: 2}}, {PLAIN}",
        PLAIN_SERVED,
        polls=5,
        may_fail=True,
    ),
    Quirk(
        "always-busy",
        "is busy (06) whatever is asked (6.5)",
        f"{PATIENT}, stale_after: 1s, faults: {{busy: 1}}, {PLAIN}",
        PLAIN_FAILED,
        logs="no good read yet .*06 server busy",
        polls=3,
    ),
    Quirk(
        "late",
        "answers every fifth request too late (6.3): never taken for the next one's",
        f"{HASTY}, faults: {{late: 5, late_by: 450ms}}, {PLAIN}",
        PLAIN_SERVED,
        polls=30,
    ),
    Quirk(
        "always-late",
        "answers every request too late (6.3)",
        f"{HASTY}, faults: {{late: 1, late_by: 450ms}}, {PLAIN}",
        PLAIN_FAILED,
        logs=SILENT,
        may_log="no good read yet",
    ),
    Quirk(
        "short",
        "answers with two bytes too few, its header agreeing (6.3): close",
        f"{HASTY}, faults: {{short_frame: 1}}, {PLAIN}",
        PLAIN_FAILED,
        logs=r"unit 1: \d bytes of data \(byte count \d\), not \d; trying on",
        may_log="no good read yet",
        polls=6,
    ),
    Quirk(
        "sometimes-short",
        "answers every seventh request with two bytes too few (6.3): close, ask again",
        f"{HASTY}, faults: {{short_frame: 7}}, {PLAIN}",
        PLAIN_SERVED,
        may_log=r"unit 1: \d bytes of data \(byte count \d\), not \d; trying on",
        polls=30,
        tells_often=True,
    ),
    Quirk(
        "long",
        "counts two bytes in its header that do not come (6.4): told once",
        f"{HASTY}, faults: {{wrong_length: 1}}, {PLAIN}",
        PLAIN_FAILED,
        logs=r"did not answer .*only \d+ bytes of a frame that its header says is longer",
        may_log="no good read yet",
        polls=6,
    ),
    Quirk(
        "sometimes-long",
        "counts two bytes too many in the header of every seventh answer (6.4)",
        f"{HASTY}, faults: {{wrong_length: 7}}, {PLAIN}",
        PLAIN_SERVED,
        may_log="this is not Modbus TCP: protocol id 00",
        polls=30,
        tells_often=True,
    ),
    Quirk(
        "no-input",
        "does not have function 04 (6.5): told, the others go on",
        f"{PATIENT}, faults: {{no_functions: [4]}}, {PLAIN}",
        {(HOLDING, 0, 2): "006f00de", (INPUT, 0, 1): "01"},
        logs="input:0.*01 illegal function",
    ),
    *(
        Quirk(
            f"all-0{code}",
            f"refuses everything with 0{code} (6.5)",
            f"{PATIENT}, faults: {{{ALL_REFUSED % (code, code)}}}, {TWO_SHAPES}",
            {(HOLDING, 0, 1): f"0{code}", (INPUT, 0, 1): f"0{code}"},
            logs=rf"holding:0 .*0{code} illegal",
            may_log=rf"input:0.*0{code} illegal",
            polls=2,
        )
        for code in (1, 2, 3)
    ),
    *(
        Quirk(
            f"all-{code:02x}",
            f"answers everything with {code:02X} (6.5): no value, and no refusal",
            f"{PATIENT}, stale_after: 1s, faults: {{{ALL_REFUSED % (code, code)}}}, {PLAIN}",
            PLAIN_FAILED,
            logs=f"no good read yet .*{code:02X} ",
            polls=3,
        )
        for code in (4, 5, 8, 10)
    ),
    Quirk(
        "all-0b",
        "answers everything with 0B, as a bridge whose line is silent (6.5): as a time-out of that unit",
        f"{PATIENT}, faults: {{{ALL_REFUSED % (11, 11)}}}, {PLAIN}",
        PLAIN_FAILED | NEIGHBOUR_SERVED,
        logs="unit 1 did not answer 3 times in a row .*: left alone",
        may_log="no good read yet",
        beside=NEIGHBOUR,
    ),
    Quirk(
        "dead",
        "does not answer, beside one on the same connection that does (6.2)",
        f"{HASTY}, faults: {{dead: on}}, {PLAIN}",
        PLAIN_FAILED | NEIGHBOUR_SERVED,
        logs="unit 1 did not answer 3 times in a row .*: left alone",
        may_log="no good read yet",
        beside=NEIGHBOUR,
    ),
    Quirk(
        "forgetful",
        "does not answer every fourth request (6.2): asked again",
        f"{HASTY}, faults: {{no_answer: 4}}, {PLAIN}",
        PLAIN_SERVED,
        polls=30,
    ),
]


# -- scripted devices -------------------------------------------------------------------------------------------------


def answered(pdu: bytes) -> bytes:
    """The right answer to a read: addresses as values."""
    frame = echo_zeros(0, 0, pdu)
    assert frame is not None
    return frame[7:]


def with_tid(change: Callable[[int], int]) -> Behaviour:
    return lambda tid, unit, pdu: adu(change(tid), unit, answered(pdu))


def with_length(change: Callable[[int], int], surplus: bytes = b"") -> Behaviour:
    """The length field of an answer is `change` of what it should be, `surplus` follows the data."""

    def behave(tid: int, unit: int, pdu: bytes) -> bytes:
        frame = adu(tid, unit, answered(pdu))
        return frame[:4] + struct.pack(">H", change(len(frame) - 6)) + frame[6:] + surplus

    return behave


def lagging() -> Behaviour:
    """Each answer is the one to the request before, its transaction id too: 82 for 83."""
    late: list[bytes] = [b""]

    def behave(tid: int, unit: int, pdu: bytes) -> bytes:
        late.append(adu(tid, unit, answered(pdu)))
        return late.pop(0)

    return behave


def refusing(code: int, tid: int | None = None) -> Behaviour:
    return lambda its_tid, unit, pdu: adu(its_tid if tid is None else tid, unit, bytes((pdu[0] | 0x80, code)))


class Sleepy(ScriptedDevice):
    """Loses everything that arrives within 300 ms after the connection was accepted."""

    lost = 0

    def _serve(self, connection: object) -> None:
        end_s = time.monotonic() + 0.3
        while (left_s := end_s - time.monotonic()) > 0:
            connection.settimeout(left_s)  # type: ignore[attr-defined]
            try:
                if not connection.recv(4096):  # type: ignore[attr-defined]
                    return
                self.lost += 1
            except TimeoutError:
                break
        connection.settimeout(None)  # type: ignore[attr-defined]
        super()._serve(connection)  # type: ignore[arg-type]


class Slow(ScriptedDevice):
    """Loses what arrives within 60 ms after its last answer."""

    def __init__(self, behave: Behaviour) -> None:
        self.lost = 0
        self._answered_s = 0.0
        super().__init__(self._rested)
        self._right = behave

    def _rested(self, tid: int, unit: int, pdu: bytes) -> bytes | None:
        if time.monotonic() - self._answered_s < 0.06:
            self.lost += 1
            return None
        answer = self._right(tid, unit, pdu)
        self._answered_s = time.monotonic()
        return answer


class Segments(ScriptedDevice):
    """Takes every segment for one whole request, as the simplest stacks do; what is not one is noted."""

    def __init__(self, behave: Behaviour) -> None:
        self.torn: list[bytes] = []
        super().__init__(behave)

    def _serve(self, connection: object) -> None:
        while True:
            try:
                data: bytes = connection.recv(4096)  # type: ignore[attr-defined]
            except OSError:
                return
            if not data:
                return
            if len(data) < 8 or len(data) != 6 + int.from_bytes(data[4:6], "big"):
                self.torn.append(data)
                continue
            answer = self.behave(int.from_bytes(data[:2], "big"), data[6], data[7:])
            connection.sendall(answer)  # type: ignore[attr-defined]


def lost_nothing(device: ScriptedDevice) -> None:
    assert isinstance(device, Sleepy | Slow)
    assert device.lost == 0


def tore_nothing(device: ScriptedDevice) -> None:
    assert isinstance(device, Segments)
    assert not device.torn


def only_whole_blocks(device: ScriptedDevice) -> None:
    assert {pdu for _, _, pdu in device.requests} == {hexed("03 0003 0002"), hexed("04 0005 0003")}


def never_too_many(device: ScriptedDevice) -> None:
    for _, _, pdu in device.requests:
        count = int.from_bytes(pdu[3:5], "big")
        assert 1 <= count <= (2000 if pdu[0] == 1 else 125), pdu.hex()


def never_inside_a_value(device: ScriptedDevice) -> None:
    borders = {(0, 3), (3, 2), (5, 2)}
    asked = {struct.unpack(">HH", pdu[1:5]) for _, _, pdu in device.requests}
    assert asked <= borders | {(0, 2), (2, 1), (2, 3)}, "a tag of two registers is read in one request"


def one_connection_at_a_time(device: ScriptedDevice) -> None:
    assert device.connections == 1


def big_reads_refused(tid: int, unit: int, pdu: bytes) -> bytes:
    count = int.from_bytes(pdu[3:5], "big")
    if pdu[0] == 1:
        size = (count + 7) // 8
        return adu(tid, unit, b"\x81\x03" if count > 2000 else bytes((1, size)) + bytes(size))
    return adu(tid, unit, bytes((pdu[0] | 0x80, 3)) if count > 125 else answered(pdu))


SCRIPTED_ROWS = [
    Quirk(
        "plain",
        "does all as it should, with two requests to ask: one connection is enough (6.1)",
        f"{PATIENT}, {SCRIPTED}",
        SCRIPTED_SERVED,
        behave=echo_zeros,
        judge=one_connection_at_a_time,
    ),
    Quirk(
        "swapped-tid",
        "swaps the bytes of the transaction id (6.1)",
        f"{HASTY}, {SCRIPTED}",
        SCRIPTED_FAILED,
        logs=SILENT,
        may_log="no good read yet",
        behave=with_tid(lambda tid: (tid & 0xFF) << 8 | tid >> 8),
    ),
    Quirk(
        "constant-tid",
        "answers with the same transaction id all the time (6.1)",
        f"{HASTY}, {SCRIPTED}",
        SCRIPTED_FAILED,
        logs=SILENT,
        may_log="no good read yet",
        behave=with_tid(lambda tid: 0x7777),
    ),
    Quirk(
        "constant-tid-accepted",
        "answers with the same transaction id all the time: accepting 0 is not accepting anything (6.1)",
        f"{HASTY}, accept: tid_zero, {SCRIPTED}",
        SCRIPTED_FAILED,
        logs=SILENT,
        may_log="no good read yet",
        behave=with_tid(lambda tid: 0x7777),
    ),
    Quirk(
        "lagging",
        "answers each request with the answer to the one before, its transaction id too (6.1)",
        f"{HASTY}, {SCRIPTED}",
        SCRIPTED_FAILED,
        logs=SILENT,
        may_log="no good read yet",
        behave=lagging(),
    ),
    Quirk(
        "unit-zero",
        "answers with unit id 0 (6.1)",
        f"{PATIENT}, unit: 19, accept: any_unit, {SCRIPTED}",
        SCRIPTED_SERVED,
        behave=lambda tid, unit, pdu: adu(tid, 0, answered(pdu)),
    ),
    Quirk(
        "refused-with-tid-zero",
        "sends exceptions with transaction id 0 (6.1), and is not accepted so",
        f"{HASTY}, {SCRIPTED}",
        SCRIPTED_FAILED,
        logs=SILENT,
        may_log="no good read yet",
        behave=refusing(2, tid=0),
    ),
    Quirk(
        "refused-with-tid-zero-accepted",
        "sends exceptions with transaction id 0 (6.1)",
        f"{PATIENT}, accept: tid_zero, poll: [{{read: 'holding:3', to: 'U/holding:0'}}]",
        {(HOLDING, 0, 1): "02"},
        logs="02 illegal data address",
        polls=1,
        behave=refusing(2, tid=0),
    ),
    Quirk(
        "sleepy",
        "loses what arrives right after connecting (6.1)",
        f"{PATIENT}, connect_delay: 500ms, {SCRIPTED}",
        SCRIPTED_SERVED,
        behave=echo_zeros,
        device=Sleepy,
        judge=lost_nothing,
    ),
    Quirk(
        "slow",
        "loses what arrives right after its answer (6.1)",
        f"{PATIENT}, delay: 100ms, {SCRIPTED}",
        SCRIPTED_SERVED,
        behave=echo_zeros,
        device=Slow,
        judge=lost_nothing,
    ),
    Quirk(
        "segments",
        "takes every segment for a request (6.1)",
        f"{PATIENT}, {SCRIPTED}",
        SCRIPTED_SERVED,
        behave=echo_zeros,
        device=Segments,
        judge=tore_nothing,
    ),
    Quirk(
        "big",
        "has more registers and coils than a request may ask for (6.1)",
        f"{PATIENT}, poll: [{{read: 'holding:0..299', to: 'U/holding:0'}}, {{read: 'coils:0..2999', to: 'U/coils:0'}}]",
        {
            (HOLDING, 0, 100): b"".join(struct.pack(">H", n) for n in range(100)).hex(),
            (HOLDING, 200, 100): b"".join(struct.pack(">H", n) for n in range(200, 300)).hex(),
            (COILS, 1500, 1500): "00" * 188,
        },
        behave=big_reads_refused,
        judge=never_too_many,
    ),
    Quirk(
        "torn",
        "changes a value between two requests (6.1): all registers of a value come from one",
        f"{PATIENT}, max_registers: 3, tags: {{a: {{at: holding:0, type: uint32, to: U/holding:0}},"
        " b: {at: holding:2, type: uint16, to: U/holding:2}, c: {at: holding:3, type: uint32, to: U/holding:3},"
        " d: {at: holding:5, type: uint32, to: U/holding:5}}",
        {(HOLDING, 0, 7): "0000000100020003000400050006"},
        behave=echo_zeros,
        judge=never_inside_a_value,
    ),
    Quirk(
        "other-function",
        "answers with another function, the transaction id right (6.3): close",
        f"{HASTY}, poll: [{{read: 'holding:3', to: 'U/holding:0'}}]",
        {(HOLDING, 0, 1): TARGET_FAILED},
        logs="unit 1: function 04 answered to 03; trying on",
        may_log="no good read yet",
        behave=lambda tid, unit, pdu: adu(tid, unit, b"\x04" + answered(pdu)[1:]),
        polls=6,
    ),
    Quirk(
        "crc-left-in",
        "leaves the CRC of the serial line in, and counts it (6.4): close, told once",
        f"{HASTY}, poll: [{{read: 'holding:3', to: 'U/holding:0'}}]",
        {(HOLDING, 0, 1): TARGET_FAILED},
        logs=r"unit 1: 4 bytes of data \(byte count 2\), not 2; trying on",
        may_log="no good read yet",
        behave=with_length(lambda length: length + 2, b"\x12\x34"),
        polls=6,
    ),
    Quirk(
        "whole-frame-counted",
        "counts the header, too (6.4): close, told once",
        f"{HASTY}, poll: [{{read: 'holding:3', to: 'U/holding:0'}}]",
        {(HOLDING, 0, 1): TARGET_FAILED},
        logs=r"did not answer .*only \d+ bytes of a frame that its header says is longer",
        may_log="no good read yet",
        behave=with_length(lambda length: length + 6),
        polls=6,
    ),
    Quirk(
        "length-zero",
        "sends exceptions with length 0 (6.4): close, told once",
        f"{HASTY}, poll: [{{read: 'holding:3', to: 'U/holding:0'}}]",
        {(HOLDING, 0, 1): TARGET_FAILED},
        logs="an impossible frame: length 0 is not in",
        may_log="no good read yet",
        behave=lambda tid, unit, pdu: adu(tid, unit, b"\x83\x02")[:4] + b"\0\0" + bytes((unit, 0x83, 2)),
        polls=6,
    ),
    Quirk(
        "no-function",
        "does not have the functions that it is asked for (6.5): 01 is never split",
        f"{PATIENT}, {SCRIPTED}",
        {(HOLDING, 0, 1): "01", (INPUT, 0, 1): "01"},
        logs="holding:3.*01 illegal function",
        may_log="input:5.*01 illegal function",
        behave=refusing(1),
        judge=only_whole_blocks,
        polls=2,
    ),
]


# -- all rows at once -------------------------------------------------------------------------------------------------


def read(wire: Wire, unit: int, wanted: Read) -> str:
    """Hex of the data behind the byte count; of an exception, its code alone."""
    function, first, count = wanted
    answer = wire.ask(struct.pack(">BHH", function, first, count), unit)
    return answer[1:].hex() if answer[0] & 0x80 else answer[2:].hex()


def plant(rows: list[Quirk], url: Callable[[int, Quirk], str]) -> str:
    """The YAML; row N has unit id N + 1 of the gateway."""
    lines = ["server: {listen: 'tcp://127.0.0.1:0'}", "devices:"]
    for at, row in enumerate(rows):
        for name, unit, keys in ((row.name, 1, row.keys), (f"{row.name}-beside", 2, row.beside)):
            if keys is None:
                continue
            every = "" if "every:" in keys else "every: 100ms, "
            its_unit = "" if re.search(r"\bunit:", keys) else f"unit: {unit}, "
            status = f"status: U/input:{900 if unit == 1 else 910}, "
            body = f"url: '{url(at, row)}', {every}{its_unit}{status}{keys}"
            lines.append(f"  {name}: {{{re.sub(r'U/', f'{at + 1}/', body)}}}")
    return "\n".join(lines)


class Observed:
    """What the gateway served of each row, without repetitions, in order; and its log."""

    def __init__(self, gateway: Running, rows: list[Quirk]) -> None:
        self.gateway = gateway
        self.rows = rows
        self.seen: dict[tuple[str, Read], list[str]] = {(row.name, each): [] for row in rows for each in row.serves}
        self.requests: dict[str, tuple[int, int]] = {}
        """Good and failed ones, as the row's status block counts them."""
        self.failed_before: dict[str, int] = {}
        """The first good one: a poll that comes before the connection does fails."""
        with Wire(gateway.port) as wire:
            try:
                wait_until(lambda: self._look(wire), OBSERVED_S)
            except AssertionError:
                pass  # each row tells for itself

    def _look(self, wire: Wire) -> bool:
        """Whether all rows have been asked often enough and serve what they should."""
        done = True
        for at, row in enumerate(self.rows):
            for each, expected in row.serves.items():
                seen = self.seen[row.name, each]
                now = read(wire, at + 1, each)
                if not seen or seen[-1] != now:
                    seen.append(now)
                done = done and now == expected
            good, failed = struct.unpack(">II", bytes.fromhex(read(wire, at + 1, (INPUT, 904, 4))))
            self.requests[row.name] = good, failed
            if good:
                self.failed_before.setdefault(row.name, failed)
            done = done and good + failed >= row.polls and (not row.logs or bool(self.warnings(row)))
        return done

    def warnings(self, row: Quirk) -> list[str]:
        """What was logged above INFO about the row's devices or their connection, without the times."""
        names = f"(?:{row.name}|{row.name}-beside)"
        ours = re.compile(rf" (?:WARNING|ERROR) +(.*(?:device {names}: |\((?:[\w-]+, )*{names}(?:, [\w-]+)*\): ).*)")
        return [match[1] for line in list(self.gateway.log) if (match := ours.search(line))]

    def judge(self, row: Quirk) -> None:
        for each, expected in row.serves.items():
            seen = list(self.seen[row.name, each])
            if row.learns:
                seen = [answer for at, answer in enumerate(seen) if expected in seen[: at + 1] or len(answer) > 2]
            elif seen[0] == TARGET_FAILED != expected:
                del seen[0]
            assert seen == [expected], f"{row.does}: {each} served {self.seen[row.name, each]}"
        good, failed = self.requests[row.name]
        assert good + failed >= row.polls, f"{row.does}: only {good + failed} requests"
        if not (row.logs or row.may_log or row.may_fail):
            assert failed == self.failed_before[row.name], f"{row.does}: {failed} requests failed"
        warnings = self.warnings(row)
        if row.logs:
            assert any(re.search(row.logs, line) for line in warnings), f"{row.does}: {row.logs} is not in {warnings}"
        allowed = "|".join(filter(None, (row.logs, row.may_log)))
        assert [line for line in warnings if not allowed or not re.search(allowed, line)] == [], row.does
        if row.learns:
            assert len(warnings) == 1, row.does
        if not row.tells_often:
            assert sorted(warnings) == sorted(set(warnings)), f"{row.does}: told again and again"


@pytest.fixture(scope="module")
def simulated(start: Start) -> Observed:
    """All simulated rows. Nothing is behind the port of those that share a connection: `--simulate` replaces it."""
    yaml = plant(SIMULATED, lambda at, row: f"tcp://127.0.0.1:{at + 1}" if row.beside else "sim://")
    return Observed(start(yaml, "--simulate"), SIMULATED)


@pytest.mark.parametrize("row", SIMULATED, ids=lambda row: row.name)
def test_a_simulated_device(simulated: Observed, row: Quirk) -> None:
    simulated.judge(row)


@pytest.fixture(scope="module")
def devices() -> Iterator[dict[str, ScriptedDevice]]:
    with ExitStack() as stack:
        made = {row.name: row.device(row.behave or echo_zeros) for row in SCRIPTED_ROWS}
        for device in made.values():
            stack.callback(device.close)
        yield made


@pytest.fixture(scope="module")
def played(start: Start, devices: dict[str, ScriptedDevice]) -> Observed:
    """All scripted rows."""
    yaml = plant(SCRIPTED_ROWS, lambda _, row: f"tcp://127.0.0.1:{devices[row.name].port}")
    return Observed(start(yaml), SCRIPTED_ROWS)


@pytest.mark.parametrize("row", SCRIPTED_ROWS, ids=lambda row: row.name)
def test_a_scripted_device(played: Observed, devices: dict[str, ScriptedDevice], row: Quirk) -> None:
    played.judge(row)
    row.judge(devices[row.name])


# -- what changes while it runs ---------------------------------------------------------------------------------------


def test_a_device_whose_one_connection_somebody_else_holds_is_taken_when_it_is_free(tmp_path: Path) -> None:
    yaml = """
server: {{listen: "tcp://127.0.0.1:0"}}
devices:
  lent: {{url: "tcp://127.0.0.1:{port}", every: 100ms, poll: [{{read: "holding:0..1", to: "1/holding:0"}}]}}
"""
    with serving({1: {"one_connection": "on"}}) as device, Wire(device.port) as other:
        assert other.ask(hexed("06 0001 1234")) == hexed("06 0001 1234")
        with running(yaml.format(port=device.port), tmp_path) as gateway, Wire(gateway.port) as wire:
            wait_until(lambda: device.turned_away >= 3, 10, "three attempts")
            assert read(wire, 1, (HOLDING, 0, 2)) == TARGET_FAILED
            assert other.ask(hexed("03 0001 0001")) == hexed("03 02 1234"), "the other one is not disturbed"
            assert gateway.count(r"WARNING.*lent.*; trying on") == 1
            other.close()
            wait_until(lambda: read(wire, 1, (HOLDING, 0, 2)) == "00001234", 5, "the value")
        assert device.connections == 2, "theirs and ours"


CHANGING = """
  plc-{code}:
    url: tcp://127.0.0.1:{port}
    timeout: 500ms
    every: 100ms
    stale_after: 700ms
    poll: [{{read: "holding:3", to: "1/holding:{code}"}}]
"""
PASSING = (0x04, 0x05, 0x06, 0x08, 0x0A)


def test_an_exception_that_may_pass_leaves_the_last_value_until_it_is_too_old(tmp_path: Path) -> None:
    """6.5: it is never a value, and no reason to close the connection."""
    yaml = "server: {listen: 'tcp://127.0.0.1:0'}\ndevices:"
    with ExitStack() as stack:
        plcs = {code: stack.enter_context(scripted()) for code in PASSING}
        yaml += "".join(CHANGING.format(code=code, port=plc.port) for code, plc in plcs.items())
        gateway = stack.enter_context(running(yaml, tmp_path))
        wire = stack.enter_context(Wire(gateway.port))
        seen: dict[int, list[str]] = {code: [] for code in PASSING}

        def all_serve(expected: str) -> bool:
            for code, its in seen.items():
                now = read(wire, 1, (HOLDING, code, 1))
                if not its or its[-1] != now:
                    its.append(now)
            return all(its[-1] == expected for its in seen.values())

        wait_until(lambda: all_serve("0003"), what="the first value")
        for code, plc in plcs.items():
            plc.behave = refusing(code)
        wait_until(lambda: all_serve(TARGET_FAILED), what="too old")
        for code in PASSING:
            gateway.wait_for_log(f"WARNING +device plc-{code}: stale .*{code:02X} ")
        for plc in plcs.values():
            plc.behave = echo_zeros
        wait_until(lambda: all_serve("0003"), what="the value again")
        for code, its in seen.items():
            assert its[-3:] == ["0003", TARGET_FAILED, "0003"], code
            assert set(its) == {"0003", TARGET_FAILED}, code
            assert plcs[code].connections == 1, code


# -- writes (6.5) -----------------------------------------------------------------------------------------------------

WRITES = """
server: {{listen: "tcp://127.0.0.1:0"}}
devices:
  plc:
    url: tcp://127.0.0.1:{port}
    timeout: 400ms
    every: 100ms
    poll: [{{read: "holding:0..19", to: "1/holding:0", write: through}}]
"""


class Store:
    """Twenty registers. A write to register N is refused with N, to 6 only twice; to 0 and 19 it is executed."""

    def __init__(self) -> None:
        self.registers = bytearray(40)
        self.writes: list[bytes] = []
        self._lock = threading.Lock()

    def __call__(self, tid: int, unit: int, pdu: bytes) -> bytes | None:
        address = int.from_bytes(pdu[1:3], "big")
        if pdu[0] == 3:
            count = int.from_bytes(pdu[3:5], "big")
            return adu(tid, unit, bytes((3, 2 * count)) + self.registers[2 * address : 2 * (address + count)])
        with self._lock:
            self.writes.append(pdu)
        if 0 < address < 19 and not (address == 6 and len(self.to(6)) > 2):
            return adu(tid, unit, bytes((pdu[0] | 0x80, address)))
        self.registers[2 * address : 2 * address + 2] = pdu[3:5]
        return None if address == 19 else adu(tid, unit, pdu)

    def to(self, address: int) -> list[bytes]:
        with self._lock:
            return [pdu for pdu in self.writes if int.from_bytes(pdu[1:3], "big") == address]


@pytest.fixture(scope="module")
def store() -> Store:
    return Store()


@pytest.fixture(scope="module")
def written(start: Start, store: Store) -> Iterator[Running]:
    with scripted(store) as device:
        gateway = start(WRITES.format(port=device.port))
        with Wire(gateway.port) as wire:
            wait_until(lambda: read(wire, 1, (HOLDING, 0, 20)) == "0000" * 20, what="the first poll")
        yield gateway


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 8, 0x0A, 0x0B])
def test_an_exception_to_a_write_reaches_the_client_unchanged_and_is_not_repeated(
    written: Running, store: Store, code: int
) -> None:
    with Wire(written.port) as wire:
        assert wire.ask(b"\x06" + struct.pack(">HH", code, 77)) == bytes((0x86, code))
        assert len(store.to(code)) == 1
        assert read(wire, 1, (HOLDING, code, 1)) == "0000", "the image changes only when the device has accepted"


def test_a_write_to_a_busy_device_is_repeated_until_it_is_executed(written: Running, store: Store) -> None:
    with Wire(written.port) as wire:
        assert wire.ask(hexed("06 0006 004D")) == hexed("06 0006 004D")
        assert store.to(6) == [hexed("06 0006 004D")] * 3
        assert read(wire, 1, (HOLDING, 6, 1)) == "004d"


def test_a_write_that_is_not_answered_is_not_repeated_and_its_outcome_unknown(written: Running, store: Store) -> None:
    with Wire(written.port) as wire:
        assert wire.ask(hexed("06 0013 0055")) == bytes((0x86, 0x0B))
        written.wait_for_log(r"WARNING.*plc.*holding:19 \(400020\).*outcome unknown")
        wait_until(lambda: read(wire, 1, (HOLDING, 19, 1)) == "0055", what="read back: it had been executed")
        assert wire.ask(hexed("06 0000 0001")) == hexed("06 0000 0001"), "the next one goes through"
        assert len(store.to(19)) == 1
