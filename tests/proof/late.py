"""Devices on lines that hang and then answer everything at once: nothing is taken for the answer to something else.

RTU and ASCII have no transaction ids. Each device here has the address of a register as its value, takes a while for
each answer, loses one now and then, and hangs at random for up to several time-outs, while the requests wait in its
line. Three clients look: one reads what is polled, one reads by the forward, one writes by the forward values that
never repeat. A wrong register is a wrong answer; a write that is confirmed and was not executed is a lie. Refusals (0B)
are what such a device deserves, and are only counted.

Run from the repository root: python -m tests.proof.late --help
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.proof import harness
from tests.proof.harness import HOST, Control, Question, Report, exactly
from tests.support.lines import LineDevice, echo_zeros
from tests.support.serial_pair import SerialPair
from tests.support.wire import Wire, adu

MINUTES = 5.0
HANGS, LOST = 0.03, 0.01
"""Of all requests."""
LONGEST_S = 0.7
SLOWEST_S = 0.01
"""An answer of a device that is well."""
WAYS = ("rtu", "ascii", "rtu+tcp")
POLLED = (0, 100, 200, 300)
COUNT = 10
PACE_S = 0.3
"""Between two writes; a flood of them would keep the reads in step, which have another shape."""

PLANT = """
server: {{listen: "tcp://127.0.0.1:0"}}
units: {{1: {{holding: 0..999}}, 9: {{forward: line}}}}
devices:
  line:
    url: "{url}"
    unit: 9
    every: 50ms
    timeout: 200ms
    max_gap: 0
    poll:
{polls}
"""
POLL = '      - {{read: "holding:{0}..{1}", to: "1/holding:{0}"}}'


class Hanging:
    """A device on a line."""

    def __init__(self, framing: str, path: str | None, seed: str) -> None:
        self.device = LineDevice(framing, path)
        self.hung = 0
        self.executed: set[bytes] = set()
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        """It does one thing after the other, whichever connection that came by."""
        self.device.behave = self._behave

    def _behave(self, unit: int, pdu: bytes) -> None:
        with self._lock:
            time.sleep(self._random.uniform(0, SLOWEST_S))
            chance = self._random.random()
            if chance < HANGS:
                self.hung += 1
                time.sleep(self._random.uniform(0, LONGEST_S))
            elif chance < HANGS + LOST:
                return
            if pdu[0] == 3:
                answer = echo_zeros(pdu)
            else:
                self.executed.add(pdu[-2:])
                answer = pdu[:5]
            self.device.send(self.device.frame(unit, answer))


class Writer:
    """Writes a register by the forward, with functions 06 and 16 in turns; the device tells whether it was true."""

    def __init__(self, port: int, device: Hanging) -> None:
        self.confirmed = 0
        self.refused = 0
        self.lies: list[str] = []
        self._device = device
        self._wire = Wire(port)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        self._thread.join()
        self._wire.socket.close()

    def _run(self) -> None:
        number = 0
        while not self._end.wait(PACE_S) and number < 0xFFFF:
            number += 1
            value = number.to_bytes(2, "big")
            pdu = b"\x06\x02\xbc" + value if number % 2 else b"\x10\x02\xbc\0\1\2" + value
            self._wire.send(adu(number, 9, pdu))
            answer = self._wire.receive_adu(harness.PATIENCE_S).pdu
            if answer[0] & 0x80:
                self.refused += 1
                continue
            self.confirmed += 1
            if value not in self._device.executed:
                self.lies.append(f"{pdu.hex()} was confirmed")


def questions() -> list[Question]:
    """What is polled, and the like by the forward: right, or refused. All have one shape, so that any answer fits."""
    found = []
    for unit, offset in ((1, 0), (9, 50)):
        for first in POLLED:
            pdu = b"\x03" + (first + offset).to_bytes(2, "big") + COUNT.to_bytes(2, "big")
            found.append(Question(unit, pdu, exactly(echo_zeros(pdu), b"\x83\x0b", b"\x83\x0a")))
    return found


@contextlib.contextmanager
def line(way: str, folder: Path, seed: str) -> Iterator[tuple[Hanging, str]]:
    framing = way.partition("+")[0]
    if "+" in way:
        device = Hanging(framing, None, seed)
        yield device, f"{way}://{HOST}:{device.device.port}"
        device.device.close()
        return
    with SerialPair(folder) as pair:
        device = Hanging(framing, pair.theirs, seed)
        yield device, f"{way}://{pair.ours}?baudrate=115200&parity=none"
        device.device.close()


def prove(directory: Path, minutes: float, seed: int) -> Report:
    """All ways at once, for so long."""
    report = Report(f"devices on lines that hang and answer late, {minutes:g} min (seed {seed})")
    polls = "\n".join(POLL.format(first, first + COUNT - 1) for first in POLLED)
    with contextlib.ExitStack() as stack:
        running = []
        for way in WAYS:
            folder = directory / way.replace("+", "-")
            folder.mkdir()
            device, url = stack.enter_context(line(way, folder, f"{seed} {way}"))
            gateway = stack.enter_context(harness.own_gateway(PLANT.format(url=url, polls=polls), folder))
            control = stack.enter_context(Control(gateway.port, questions()))
            writer = stack.enter_context(Writer(gateway.port, device))
            running.append((way, device, gateway, control, writer))
        time.sleep(60 * minutes)
        for way, device, gateway, control, writer in running:
            counters = harness.status(directory / way.replace("+", "-"))["links"][0]["counters"]
            report.check(f"{way}: wrong answers", control.told(), "0", control.asked > 0 and not control.complaints)
            lies = f"{len(writer.lies)} of {writer.confirmed:,}{': ' + writer.lies[0] if writer.lies else ''}"
            report.check(f"{way}: confirmed and not executed", lies, "0", writer.confirmed > 0 and not writer.lies)
            report.check(f"{way}: hung", f"{device.hung} times", "some", device.hung > 0)
            told = (
                f"{counters['timeouts']} time-outs, {counters['late']} answers dropped, {writer.refused} writes refused"
            )
            report.note(f"{way}: besides", told)
            report.check_log(gateway, f"{way}: exceptions in the log")
    return report


def main() -> None:
    parser = harness.parser("late", "Devices on lines hang and answer late.", minutes=MINUTES, seed=True)
    args = parser.parse_args()
    harness.main(lambda directory: prove(directory, args.minutes, args.seed))


if __name__ == "__main__":
    main()
