"""`gateway doctor`: ask every device of a plant as the gateway would, and say what to change."""

from __future__ import annotations

import json
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.options import JsonOption, PlantArgument

if TYPE_CHECKING:
    from gateway.cli.progress import Telling
    from gateway.commission.patients import Opener, Patient, Report, Way
    from gateway.config.model import Config
    from gateway.config.model_devices import Link

EXIT_WRONG = 1
EXIT_CONFIG = 2
EXIT_INTERRUPTED = 130
MAX_LINKS = 16
"""Links that are asked at the same time."""
ASK_S = 2.0
"""For a running gateway to say that it runs."""
CONNECT_S = 3.0
"""To connect; a host that is there does in milliseconds."""
MOST_WIDTH = 110

EPILOG = (
    """Exit codes: 0 all is well (hints may be shown); 1 something does not work; 2 wrong plant file or command line."""
)


def doctor(
    file: PlantArgument,
    device: Annotated[
        list[str] | None, typer.Option("--device", "-d", metavar="NAME", help="Only this one; repeatable.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask every device of a plant as the gateway would, and say what to change.

    Resolves names, connects, reads each block of the plan once: one request at a time on a link, several links at the
    same time. What fails is asked about further: another unit id, another framing, which registers are there, how many
    at once. Values that cannot be meant are pointed out. Nothing is written.

    A device that allows one connection may refuse while the gateway itself runs.

    Examples:

      gateway doctor plant.yaml

      gateway doctor plant.yaml --device press --json
    """
    from gateway.cli.progress import Telling
    from gateway.config.explain import suggest
    from gateway.config.load import load
    from gateway.config.needs import errors, unmet
    from gateway.errors import ConfigError

    try:
        config = load(file)
        if problems := errors(unmet(config)):
            raise ConfigError(problems)
    except ConfigError as error:
        print(error, file=sys.stderr)
        print("mend the file first; no device was asked", file=sys.stderr)
        raise typer.Exit(EXIT_CONFIG) from None
    for name in device or ():
        if name not in config.devices:
            print(f"{file} has no device '{name}'; {suggest(name, config.devices)}", file=sys.stderr)
            raise typer.Exit(EXIT_CONFIG)
    ways, skipped = _ways(config, device or ())
    running = _running(config)
    with Telling(quiet=as_json) as telling:
        try:
            reports = _examine(ways, telling)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise typer.Exit(EXIT_INTERRUPTED) from None
    if as_json:
        print(json.dumps(_as_json(file, running, reports, skipped), indent=2))
    else:
        for line in _page(file, running, reports, skipped, len(ways)):
            print(line)
    if any(report.is_wrong for report in reports):
        raise typer.Exit(EXIT_WRONG)


# -- what is asked --------------------------------------------------------------------------------------------------


def _ways(config: Config, names: Sequence[str]) -> tuple[list[Way], dict[str, str]]:
    """Links with the devices that are asked, and those that are not, with the reason."""
    from gateway.commission.patients import Way

    members: dict[str, list[str]] = {}
    skipped: dict[str, str] = {}
    for name, device in config.devices.items():
        if names and name not in names:
            continue
        carrier = config.link_of(name).url.carrier
        if not device.enabled and name not in names:
            skipped[name] = "disabled"
        elif carrier == "sim":
            skipped[name] = "simulated inside the gateway"
        elif carrier == "dial-in":
            skipped[name] = "dials in to the gateway: `gateway status` tells whether it has"
        else:
            members.setdefault(config.link_key(name), []).append(name)
    ways = []
    for key, of in members.items():
        link = config.link_of(of[0])
        patients = tuple(_patient(config, name) for name in of)
        ways.append(Way(key, link.urls, _opener(config, link), link.connect_delay_s, link.delay_s, patients))
    forwards = {route.forward for route in config.routes.values()} & config.links.keys() - members.keys()
    for key in sorted(forwards) if not names else ():
        link = config.links[key]
        if link.url.carrier not in ("sim", "dial-in"):
            ways.append(Way(key, link.urls, _opener(config, link), link.connect_delay_s, link.delay_s, ()))
    return ways, skipped


def _patient(config: Config, name: str) -> Patient:
    from gateway.commission.checkup import Reading
    from gateway.commission.patients import Patient, Read
    from gateway.polling.assemble import plan_device
    from gateway.polling.holes import items_of

    device = config.devices[name]
    reads = []
    for planned in plan_device(config, name):
        block = planned.block
        readings = tuple(Reading(tag, device.tags[tag.name].range) for tag in block.tags)
        reads.append(Read(block.table, block.first, block.count, tuple(items_of(block)), readings))
    return Patient(
        name,
        device.unit,
        device.timeout_s,
        device.retries,
        device.max_registers,
        device.max_bits,
        tuple(device.accept),
        tuple(reads),
    )


def _opener(config: Config, link: Link) -> Opener:
    from gateway.cli.client import trust_of
    from gateway.cli.ways import opener

    tls = link.tls or config.tls
    trust = trust_of(tls, config.path_of) if tls is not None and link.url.carrier == "tls" else None
    return lambda url: opener(url, CONNECT_S, trust, link.source)


def _running(config: Config) -> dict[str, Any] | None:
    """The gateway of this plant, when it runs: `pid`, as far as it tells."""
    from gateway.control.client import ask
    from gateway.control.path import SOCKET_NAME, ControlError

    if not (config.state_path / SOCKET_NAME).exists():
        return None
    try:
        return {"pid": ask(config.state_path, "status", timeout_s=ASK_S).get("gateway", {}).get("pid")}
    except ControlError:
        return None


def _examine(ways: Sequence[Way], telling: Telling) -> list[Report]:
    """Each link in a thread, MAX_LINKS at a time; the reports in the order of the file.

    The threads are daemons: Ctrl-C ends the command at once, whatever they wait for.
    """
    from gateway.commission.doctor import Doctor

    telling.phase("requests of the plan", sum(len(patient.reads) for way in ways for patient in way.patients))
    lock = threading.Lock()
    waiting = list(enumerate(ways))
    done: dict[int, list[Report]] = {}
    failures: list[BaseException] = []

    def on_read() -> None:
        with lock:
            telling.step()

    def work() -> None:
        while True:
            with lock:
                if not waiting:
                    return
                number, way = waiting.pop(0)
            try:
                done[number] = Doctor(way, on_read).examine()
            except BaseException as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(MAX_LINKS, len(ways)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return [report for number in range(len(ways)) for report in done[number]]


# -- what is shown --------------------------------------------------------------------------------------------------


def _page(
    file: Path,
    running: dict[str, Any] | None,
    reports: Sequence[Report],
    skipped: dict[str, str],
    links: int,
) -> Iterator[str]:
    width = _width()
    if running is not None:
        yield from textwrap.wrap(
            f"The gateway of this plant is running (process {running['pid']}): a device that allows one connection may "
            "refuse or drop this one. `gateway status` tells what the gateway itself sees.",
            width,
        )
        yield ""
    for report in sorted(reports, key=lambda report: not report.is_wrong):
        yield from _report(report, width)
    for name, why in skipped.items():
        yield f"{name}: not asked, {why}"
    wrong = sum(report.is_wrong for report in reports)
    hints = sum(finding.level == "hint" for report in reports for finding in report.findings)
    told = (
        "there was nothing to ask"
        if not reports
        else f"{wrong} of {len(reports)} with something that does not work"
        if wrong
        else "all that was asked works"
    )
    yield f"{file}: {told}" + (f"; {hints} {'hint' if hints == 1 else 'hints'}" if hints else "")


def _report(report: Report, width: int) -> Iterator[str]:
    unit = "" if report.unit_id is None else f" unit {report.unit_id}"
    head = f"{report.name} ({report.where}{unit}): {_sum(report)}"
    yield from textwrap.wrap(head, width, subsequent_indent="    ", break_on_hyphens=False)
    for finding in report.findings:
        mark = "WRONG" if finding.level == "wrong" else "hint "
        yield from textwrap.wrap(finding.text, width, initial_indent=f"  {mark} ", subsequent_indent=" " * 8)
        if finding.change:
            yield from textwrap.wrap(finding.change, width, initial_indent="     -> ", subsequent_indent=" " * 8)
    for kind, count in report.hidden.items():
        yield f"  hint  {count} more of the last kind ({kind}; --json has the count)"


def _sum(report: Report) -> str:
    good = sum(read["outcome"] == "good" for read in report.reads)
    if not report.reads:
        if report.unit_id is None:
            return "connects" if report.is_connected else "does not connect"
        return "does not work" if report.is_wrong else "answers"
    told = f"{good} of {len(report.reads)} {'request' if len(report.reads) == 1 else 'requests'} answered"
    if report.tags:
        told += f", {report.values} of {report.tags} tags have a value"
    if report.slowest_s:
        told += f", slowest {report.slowest_s * 1000:.1f} ms"
    return told


def _width() -> int:
    import shutil

    return min(MOST_WIDTH, shutil.get_terminal_size((MOST_WIDTH, 24)).columns) if sys.stdout.isatty() else MOST_WIDTH


def _as_json(
    file: Path, running: dict[str, Any] | None, reports: Sequence[Report], skipped: dict[str, str]
) -> dict[str, Any]:
    return {
        "config": str(file),
        "ok": not any(report.is_wrong for report in reports),
        "gateway_running": running,
        "devices": [
            {
                "name": report.name,
                "url": report.where,
                "unit": report.unit_id,
                "ok": not report.is_wrong,
                "findings": [finding._asdict() for finding in report.findings],
                "hidden_hints": report.hidden,
                "reads": report.reads,
                "tags": report.tags,
                "values": report.values,
                "slowest_ms": round(report.slowest_s * 1000, 3),
            }
            for report in reports
        ],
        "not_asked": skipped,
    }
