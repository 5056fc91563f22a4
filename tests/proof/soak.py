"""The quickstart for an hour while clients and devices come and go: memory, descriptors and tasks stay flat.

Clients connect, read, half-close, abort, fall silent with half a frame, or stay; the configuration goes round through
variants by SIGHUP (a device less, another interval, another map, back); beside the simulated devices there is one in a
process of its own that is killed and started again. At the end of each round, when all clients have gone and the plant
is as at the first one, there is one sample: what has leaked shows as a slope, what belongs to the moment does not.

Run from the repository root: python -m tests.proof.soak --help
"""

from __future__ import annotations

import contextlib
import random
import signal
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.proof import harness
from tests.proof.harness import Control, Question, Report, Sample, after_warmup, slope
from tests.support.devices import ProcessPlc
from tests.support.process import ROOT, Running
from tests.support.until import wait_until
from tests.support.wire import Wire, adu

MINUTES = 60.0
ROUND_S = 12.0
"""Of churn, then a sample."""
CHURNERS = 4
RELOAD_S = 1.5
KILL_S = 5.0
SETTLE_S = 10.0
MAX_RISE_KB = 1024.0
"""Of memory over all that is fitted; 100 bytes for each client that came and went would be many times that."""
MAX_RISE = 1.0
"""Of descriptors and tasks; they are whole numbers, and noise is less than one."""

EXTRA = """
  remote:
    url: tcp://127.0.0.1:{port}
    every: 200ms
    timeout: 300ms
    status: 1/input:120
    tags:
      clock: {{at: holding:0, type: uint32, to: 1/input:20}}
"""
RELOADED = r"configuration \d+ is running|nothing has changed|reload refused"
STATUS = {"press": 110, "remote": 120}
GOOD = 1


def quickstart(plc: int) -> str:
    """As it is shipped, with ports of the system's choice and one device that can be killed."""
    text = (ROOT / "config/quickstart.yaml").read_text(encoding="utf-8").replace("127.0.0.1:8080", "127.0.0.1:0")
    return text.replace("listen: tcp://127.0.0.1:5020", "listen: tcp://127.0.0.1:0") + EXTRA.format(port=plc)


def variants(whole: str) -> list[str]:
    """What a reload may bring; the first is what it began with."""
    head, _, tail = whole.partition("  tank:\n")
    tank, _, rest = tail.partition("  meter:\n")
    return [
        whole,
        f"{head}  meter:\n{rest}",  # a device less
        whole.replace("every: 250ms", "every: 100ms"),
        whole.replace("to: 1/input:2}", "to: 1/input:40}"),  # a tag moves
        f"{head}  boiler:\n{tank}  meter:\n{rest}",  # another name: one goes, one comes
        whole.replace("server:\n", "server:\n  idle_timeout: 1s\n"),
        "server: {listen: [",  # a mistake: nothing changes
    ]


class Churn:
    """Clients that come and go, in a thread each."""

    def __init__(self, port: int, seed: int) -> None:
        self.clients = 0
        self.wrong: list[str] = []
        self._port = port
        self._seed = seed
        self._lock = threading.Lock()

    def run(self, number: int, end: threading.Event) -> None:
        rnd = random.Random(f"{self._seed} {number}")
        ways = (self._reads, self._half_closes, self._aborts, self._falls_silent, self._says_nonsense)
        while not end.is_set():
            try:
                with Wire(self._port) as wire:
                    rnd.choice(ways)(wire, rnd, end)
            except (OSError, AssertionError) as error:
                self._complain(str(error))
            with self._lock:
                self.clients += 1
            end.wait(rnd.uniform(0, 0.02))

    def _complain(self, what: str) -> None:
        with self._lock:
            self.wrong.append(what)

    def _reads(self, wire: Wire, rnd: random.Random, _end: threading.Event) -> None:
        for _ in range(rnd.randrange(1, 50)):
            first = rnd.choice((0, 4, 8, 100, 110, 20, 500))
            answer = wire.ask(struct.pack(">BHH", 4, first, 2))
            if answer[0] not in (4, 0x84) or (answer[0] == 4 and len(answer) != 6):
                self._complain(f"{answer.hex()} to a read of two registers")

    def _half_closes(self, wire: Wire, rnd: random.Random, _end: threading.Event) -> None:
        count = rnd.randrange(1, 20)
        wire.send(b"".join(adu(n, 1, bytes.fromhex("0400640002")) for n in range(count)))
        wire.half_close()
        got = [wire.receive_adu().tid for _ in range(count)]
        if got != list(range(count)):
            self._complain(f"answers {got} to {count} requests before a half-close")
        wire.expect_close()

    def _aborts(self, wire: Wire, rnd: random.Random, _end: threading.Event) -> None:
        wire.send(b"".join(adu(n, 1, bytes.fromhex("0400640002")) for n in range(rnd.randrange(50))))
        wire.abort()

    def _falls_silent(self, wire: Wire, rnd: random.Random, end: threading.Event) -> None:
        wire.send(adu(1, 1, bytes.fromhex("0400640002"))[: rnd.randrange(12)])
        end.wait(rnd.uniform(0, 2))

    def _says_nonsense(self, wire: Wire, rnd: random.Random, _end: threading.Event) -> None:
        with contextlib.suppress(OSError):
            wire.send(b"\xff" * rnd.randrange(8, 300))
            while wire.socket.recv(4096):
                pass


def prove(directory: Path, minutes: float, seed: int, round_s: float = ROUND_S) -> Report:
    report = Report(f"soak, {minutes:g} min of config/quickstart.yaml with churn, seed {seed}")
    plc = ProcessPlc("tests.support.clock_plc")
    plc.start()
    try:
        whole = quickstart(plc.port)
        with harness.own_gateway(whole, directory) as gateway:
            _soak(report, gateway, plc, variants(whole), directory, minutes, seed, round_s)
            report.check_log(gateway)
            reloads = gateway.count(r"configuration \d+ is running"), gateway.count("reload refused")
            report.note("reloads, refused ones", f"{reloads[0]}, {reloads[1]}")
    finally:
        plc.kill()
    return report


def _soak(
    report: Report,
    gateway: Running,
    plc: ProcessPlc,
    texts: list[str],
    directory: Path,
    minutes: float,
    seed: int,
    round_s: float,
) -> None:
    rnd = random.Random(seed)
    churn = Churn(gateway.port, seed)
    samples: list[Sample] = []
    kills = 0
    begun_s = time.monotonic()

    def reload(text: str) -> None:
        (directory / "plant.yaml").write_text(text, encoding="utf-8")
        gateway.process.send_signal(signal.SIGHUP)

    heartbeat = Question(1, struct.pack(">BHH", 4, 100, 8), _eight_registers)
    with Control(gateway.port, [heartbeat], pace_s=0.05) as control:
        wait_until(lambda: _is_settled(gateway.port), SETTLE_S, "all devices good")
        while time.monotonic() - begun_s < minutes * 60 or len(samples) < 2:
            end = threading.Event()
            threads = [threading.Thread(target=churn.run, args=(n, end), daemon=True) for n in range(CHURNERS)]
            for thread in threads:
                thread.start()
            until_s = time.monotonic() + round_s
            next_kill_s = time.monotonic() + rnd.uniform(0, min(KILL_S, round_s / 2))
            next_reload_s = time.monotonic()
            is_dead = False
            while (now_s := time.monotonic()) < until_s:
                if now_s >= next_reload_s:
                    reload(rnd.choice(texts))
                    next_reload_s = now_s + RELOAD_S
                if now_s >= next_kill_s:
                    if is_dead:
                        plc.start()
                    else:
                        plc.kill()
                        kills += 1
                    is_dead = not is_dead
                    next_kill_s = now_s + rnd.uniform(0.2, KILL_S)
                time.sleep(0.05)
            end.set()
            for thread in threads:
                thread.join(10.0)
            if is_dead:
                plc.start()
            heard = gateway.count(RELOADED)
            reload(texts[0])
            wait_until(lambda heard=heard: gateway.count(RELOADED) > heard, SETTLE_S, "the last reload")  # type: ignore[misc]
            samples.append(_sample(gateway, directory, time.monotonic() - begun_s))
            if len(samples) % 10 == 0:
                harness.say(f"{time.monotonic() - begun_s:.0f} s: {samples[-1]}")
    _judge(report, samples)
    report.note("clients that came and went", f"{churn.clients:,}")
    report.note("times the device was killed", kills)
    shown = "".join(f"; {each}" for each in churn.wrong[: harness.MAX_COMPLAINTS])
    report.check("answers wrong or lost", f"{len(churn.wrong)}{shown}", "0", not churn.wrong and churn.clients > 0)
    report.check_control(control)


def _eight_registers(answer: bytes) -> str | None:
    return None if answer[:2] == b"\x04\x10" and len(answer) == 18 else f"{answer.hex()} as the gateway's own status"


def _is_settled(port: int) -> bool:
    with Wire(port) as wire:
        return all(
            wire.ask(struct.pack(">BHH", 4, first, 1)) == struct.pack(">BBH", 4, 2, GOOD) for first in STATUS.values()
        )


def _sample(gateway: Running, directory: Path, at_s: float) -> Sample:
    """When the plant is as it was at first, and nobody but the control client is there."""
    found: dict[str, float] = {}

    def is_quiet() -> bool:
        told = harness.status(directory)["gateway"]
        found.update(tasks=told["tasks"])
        return bool(told["clients"] == 1)

    wait_until(lambda: _is_settled(gateway.port), 2 * SETTLE_S, f"all devices good again{gateway.told()}")
    wait_until(is_quiet, SETTLE_S, "all clients gone")
    return harness.look(gateway.process.pid, at_s, found["tasks"])


def _judge(report: Report, samples: list[Sample]) -> None:
    fitted = after_warmup(samples) or samples
    span_s = fitted[-1].at_s - fitted[0].at_s
    of: tuple[tuple[str, Callable[[Sample], float], float, str], ...] = (
        ("memory", lambda each: each.memory_kb, MAX_RISE_KB, " kB"),
        ("descriptors", lambda each: each.files, MAX_RISE, ""),
        ("tasks", lambda each: each.tasks, MAX_RISE, ""),
    )
    for what, value, bound, unit in of:
        rise = slope([(each.at_s, value(each)) for each in fitted]) * span_s
        figure = f"{value(fitted[0]):,.0f} to {value(fitted[-1]):,.0f}{unit}, line {rise:+,.1f} in {span_s:,.0f} s"
        if span_s:
            figure += f" ({rise / span_s * 3600:+,.1f}{unit}/h)"
        report.check(what, figure, f"line at most +{bound:,.0f}{unit}", rise <= bound)
    report.note("samples, of which fitted", f"{len(samples)}, {len(fitted)}")


def main() -> None:
    parser = harness.parser("soak", "An hour of the quickstart with churn.", minutes=MINUTES, seed=True)
    args = parser.parse_args()
    harness.main(lambda directory: prove(directory, args.minutes, args.seed))


if __name__ == "__main__":
    main()
