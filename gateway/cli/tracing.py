"""How `gateway trace` shows traffic: lines for people, objects for programs, a capture for Wireshark."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from gateway import __version__
from gateway.cli.asking import POLL_S, Asked, Plant, Tap, tell, until_stopped
from gateway.cli.output import fail, open_target
from gateway.config.sizes import format_size
from gateway.control.path import ControlError
from gateway.modbus.words import answer_text, request_text
from gateway.recording.pairs import Paired, Pairs
from gateway.recording.pcap import Pcap
from gateway.traffic import Frame

LEAST_WHO = 12
MOST_WHO = 40
"""Characters of the column that says who; it grows with the names that come, and does not jump about."""
PLANT_AGE_S = 10.0
"""How long names and urls of the plant are believed: a reload may have brought others."""
LOOK_UP_S = 1.0
"""For names in between: the frames wait meanwhile."""
TOLD_INSTEAD = {
    "time-out": "no answer",
    "lost": "the connection ended before the answer",
    "unsent": "was not sent",
    "silent": "is not answered",
    "left": "the client had left before the answer",
    "noise": "bytes that are no frame",
}
"""Of notes that stand instead of bytes."""


class Target(NamedTuple):
    """Where a capture goes."""

    path: str
    force: bool

    @property
    def is_stdout(self) -> bool:
        return self.path == "-"


def run(
    asked: Asked,
    plant: Plant,
    wanted: dict[str, Any],
    capture: Target | None,
    *,
    show_hex: bool,
    as_json: bool,
    for_s: float | None,
    count: int | None,
) -> None:
    """Until it is over; ends the command with a line when something ended it before that."""
    names = _Names(asked, plant)
    outputs: list[_Output] = []
    if capture is None or not capture.is_stdout:
        outputs.append(_Json(names) if as_json else _Lines(names, show_hex=show_hex))
    with contextlib.ExitStack() as stack:
        if capture is not None:
            outputs.append(stack.enter_context(_Capture(capture, names)))
        _run(asked, wanted, outputs, for_s, count)


class _Output(Protocol):
    """Where frames go."""

    def put(self, paired: Paired) -> None: ...
    def lost(self, count: int | None) -> None:
        """So many frames are missing here; None: nobody knows how many."""
        ...

    def flush(self) -> None: ...


def _run(asked: Asked, wanted: dict[str, Any], outputs: list[_Output], for_s: float | None, count: int | None) -> None:
    """Until it is over; ends the command with a line when the gateway ended before that."""
    pairs, frames, lost, trouble = Pairs(), 0, 0, ""
    began_s = time.monotonic()
    try:
        tap = Tap(asked, wanted)
    except ControlError as error:
        fail(str(error))
    with until_stopped(for_s) as is_over:
        is_full = False
        try:
            while not is_full and not is_over():
                for taken in tap.take(is_over):
                    if taken.lost or taken.is_interrupted:
                        lost += taken.lost
                        pairs.forget()
                        for output in outputs:
                            output.lost(None if taken.is_interrupted else taken.lost)
                    for frame in taken.frames:
                        paired = pairs.add(frame)
                        for output in outputs:
                            output.put(paired)
                        frames += 1
                        is_full = frames == count
                        if is_full:
                            break
                    for output in outputs:
                        output.flush()
                    if is_full or is_over():
                        break
                else:
                    time.sleep(POLL_S)
        except ControlError as error:
            trouble = f"the trace ends: {error}"
        finally:
            tap.close()
            more = f"; {lost} lost: they came faster than they were fetched" if lost else ""
            tell(f"{frames} frames in {time.monotonic() - began_s:.1f} s{more}")
            if not frames and not trouble:
                tell("nothing travelled; `gateway status` tells what is connected and what is asked")
    if trouble:
        fail(trouble)
    is_over.raise_if_unread()


class _Names:
    """Who is who in the plant, looked up again now and then."""

    def __init__(self, asked: Asked, plant: Plant) -> None:
        self._asked = asked
        self._take(plant)

    def _take(self, plant: Plant) -> None:
        self._devices, self._urls = plant.names(), plant.urls()
        self._at_s = time.monotonic()

    def who(self, frame: Frame) -> str:
        """The device if it has a name, else the link and what it reaches; a client by its address."""
        if frame.side == "client":
            return frame.where
        return self._devices.get((frame.where, frame.unit_id)) or frame.where

    def url(self, frame: Frame) -> str:
        """Where its link goes."""
        if frame.side == "client":
            return ""
        if frame.where not in self._urls and time.monotonic() - self._at_s > PLANT_AGE_S:
            self._at_s = time.monotonic()  # also when it does not answer: not once more for each frame
            with contextlib.suppress(ControlError):
                self._take(Plant.of(self._asked._replace(timeout_s=LOOK_UP_S)))
        return self._urls.get(frame.where, "")


# -- lines ----------------------------------------------------------------------------------------------------------


def text_of(paired: Paired) -> str:
    """What a frame says, in words."""
    frame, request = paired
    about = f": {request_text(request.pdu)}" if request is not None else ""
    if not frame.pdu:
        return TOLD_INSTEAD.get(frame.note, frame.note) + about
    if frame.note == "noise":
        return f"{TOLD_INSTEAD['noise']}: {frame.pdu.hex(' ')}"
    if frame.is_request:
        return request_text(frame.pdu)
    return answer_text(b"" if request is None else request.pdu, frame.pdu)


class _Lines:
    """For people."""

    def __init__(self, names: _Names, *, show_hex: bool) -> None:
        self._names = names
        self._show_hex = show_hex
        self._width = LEAST_WHO

    def put(self, paired: Paired) -> None:
        frame = paired.frame
        who = self._names.who(frame)
        self._width = min(max(self._width, len(who)), MOST_WHO)
        is_out = frame.is_request == (frame.side == "device")
        arrow = "--" if not frame.pdu else "->" if is_out else "<-"
        at = datetime.fromtimestamp(frame.time_ns // 1000 / 1e6).astimezone()
        text = text_of(paired)
        if frame.note and frame.pdu and frame.note != "noise":
            text += f"  [{frame.note}]"
        if paired.took_s is not None:
            text += f"  {_took(paired.took_s)}"
        if self._show_hex and frame.pdu:
            text += f"  | {frame.pdu.hex(' ')}"
        print(f"{at:%H:%M:%S.%f} {arrow} {who:<{self._width}} unit {frame.unit_id:<3} #{frame.tid:<5} {text}")

    def lost(self, count: int | None) -> None:
        print(f"... {'some' if count is None else count} frames are missing here")

    def flush(self) -> None:
        sys.stdout.flush()


def _took(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


class _Json:
    """For programs."""

    def __init__(self, names: _Names) -> None:
        self._names = names

    def put(self, paired: Paired) -> None:
        frame = paired.frame
        time_text = datetime.fromtimestamp(frame.time_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        row: dict[str, Any] = {
            "time": f"{time_text}.{frame.time_ns % 10**9:09d}Z",
            "side": frame.side,
            "who": self._names.who(frame),
            "link": frame.where if frame.side == "device" else None,
            "peer": frame.peer,
            "local": frame.local,
            "unit": frame.unit_id,
            "tid": frame.tid,
            "kind": "none" if not frame.pdu else "request" if frame.is_request else "answer",
            "function": frame.pdu[0] & 0x7F if frame.pdu else None,
            "pdu": frame.pdu.hex(),
            "request": None if paired.request is None else paired.request.pdu.hex(),
            "text": text_of(paired),
            "note": frame.note,
            "took_ms": None if paired.took_s is None else round(paired.took_s * 1000, 3),
        }
        print(json.dumps(row, ensure_ascii=False))

    def lost(self, count: int | None) -> None:
        print(json.dumps({"lost": count}))

    def flush(self) -> None:
        sys.stdout.flush()


# -- captures -------------------------------------------------------------------------------------------------------


class _Capture:
    """A file for Wireshark; ends the command with a line when it cannot be written."""

    def __init__(self, target: Target, names: _Names) -> None:
        self._target = target
        self._path = target.path
        self._names = names
        self._pcap = Pcap(f"gateway {__version__}")
        self._data = bytearray()
        self._size = 0
        self._packets = 0
        self._missing = ""
        self._is_new = False
        """There was no such file."""
        self._file: BinaryIO

    def __enter__(self) -> _Capture:
        if self._target.is_stdout:
            self._file = sys.stdout.buffer
        else:
            self._is_new = not Path(self._path).exists()
            self._file = open_target(Path(self._path), force=self._target.force)
        self._data += self._pcap.head()
        self.flush()
        return self

    def __exit__(self, *_: object) -> None:
        if self._target.is_stdout:
            return
        self._file.close()
        tell(
            f"{self._path}: {self._packets} packets, {format_size(self._size)}; all are written as Modbus TCP on port "
            "502, their comments and interfaces tell the true ways"
        )

    def put(self, paired: Paired) -> None:
        if not paired.frame.pdu or paired.frame.note == "noise":
            return
        self._data += self._pcap.frame(paired.frame, self._names.url(paired.frame), self._missing)
        self._packets += 1
        self._missing = ""

    def lost(self, count: int | None) -> None:
        self._missing = f"{'some' if count is None else count} frames are missing before this one"

    def flush(self) -> None:
        data, self._data = bytes(self._data), bytearray()
        if not data:
            return
        written = 0
        try:
            while written < len(data):
                written += self._file.write(data[written:])
            if self._target.is_stdout:
                self._file.flush()
        except BrokenPipeError:
            if self._target.is_stdout:
                raise
            fail(f"{self._path}: nobody reads it any more")
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._size)  # half a block at the end would be told as damage
                if self._is_new and not self._size:  # not even its head: it is of no use
                    Path(self._path).unlink()
            fail(f"{self._path}: {error.strerror}: the capture ends here")
        self._size += len(data)
