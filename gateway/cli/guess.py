"""`gateway guess`: what type and byte order a place of a device has."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.options import Asking, JsonOption, UrlArgument, grouped
from gateway.cli.output import EXIT_USAGE, fail
from gateway.cli.progress import Working

if TYPE_CHECKING:
    from gateway.commission.asker import Asker
    from gateway.commission.guess import Guess, Registers
    from gateway.config.addresses import Address

READS = 4
EVERY_S = "300ms"
SHOWN = 8
OTHERS_BESIDE = 2
"""Readings shown that do not fit the value that was given, beside those that do."""
MAX_COUNT = 50
"""Places at once: more are a job for `read --type`, when the type is known."""


@grouped
def guess(
    url: UrlArgument,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="holding:10, input:5, 40011 ...")],
    *,
    near: Annotated[
        float | None, typer.Option("--near", metavar="VALUE", help="What the device's own display shows, about.")
    ] = None,
    asking: Asking,
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, max=MAX_COUNT, metavar="N", help="Registers from ADDRESS on, each.")
    ] = 1,
    reads: Annotated[
        int, typer.Option("--reads", min=1, max=100, metavar="N", help="How often, to see what moves.")
    ] = READS,
    every: Annotated[str, typer.Option("--every", metavar="TIME", help="Between them.")] = EVERY_S,
    all_: Annotated[bool, typer.Option("--all", help="Also what is not plausible.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Find out type, byte order and scale of a register.

    Reads it several times, with its neighbours, and shows what it may be: all types and byte orders, also one register
    before and behind (manuals that count from 1), with --near also scaled by 0.1 0.01 0.001 10, floats by
    100 and 1000, too. The plausible ones come first, each with its reason, and the line to paste under `tags`.

    Examples:

      gateway guess 192.168.1.10 holding:10 --near 21.5

      gateway guess press holding:100 --count 8 --config plant.yaml
    """
    from gateway.cli import client
    from gateway.cli.ways import exchange_with
    from gateway.commission.asker import Asker
    from gateway.commission.guess import guesses
    from gateway.config.addresses import parse_address
    from gateway.config.durations import parse_duration
    from gateway.errors import LinkDown

    try:
        asked = client.whom(url, asking)
        at = parse_address(address)
        timeout_s, every_s = parse_duration(asking.timeout), parse_duration(every)
        if at.table.is_bits or at.bit is not None:
            raise ValueError(f"{at.describe()} is a bit: there is nothing to guess")
        if timeout_s <= 0:
            raise ValueError("--timeout must be longer than 0")
        at = at._replace(count=max(at.count, count))
        if at.count > MAX_COUNT or at.stop > 0x10000:
            raise ValueError(f"{at.describe()}: at most {MAX_COUNT} registers at once, up to 65535")
    except ValueError as error:
        fail(str(error), EXIT_USAGE)
    unit_id = asked.unit if asking.unit is None else asking.unit
    exchange = exchange_with(asked, timeout_s)
    asker = Asker(exchange, timeout_s=timeout_s)
    try:
        with Working(f"{asked.url} unit {unit_id}: reading", quiet=as_json) as working:
            readings = _readings(asker, unit_id, at, reads, every_s, working)
    except LinkDown as error:
        fail(f"{asked.url}: {error}")
    finally:
        exchange.close()
    if isinstance(readings, str):
        fail(f"{asked.url} unit {unit_id}: {readings}")
    found = {place: guesses(readings, place, near=near) for place in range(at.first, at.stop)}
    if as_json:
        print(json.dumps(_as_json(str(asked.url), unit_id, at, readings, found, near), indent=2))
        return
    for place, each in found.items():
        for line in _page(at, place, each, readings, near, everything=all_, most=SHOWN if at.count == 1 else 3):
            print(line)


def _readings(
    asker: Asker, unit_id: int, at: Address, reads: int, every_s: float, working: Working
) -> list[Registers] | str:
    """Several readings of the place and what is around it; a text says why there is none."""
    from gateway.commission.guess import LONGEST, TEXT_REGISTERS

    first, stop = max(0, at.first - 1), min(0x10000, at.stop + max(LONGEST, TEXT_REGISTERS))
    # The most that is read in one request; a device that refuses the neighbours is asked for less.
    windows = [
        (first, stop),
        (at.first, stop),
        (first, min(0x10000, at.stop + LONGEST)),
        (at.first, at.stop + 1),
        (at.first, at.stop),
    ]
    readings: list[Registers] = []
    why = ""
    for low, high in windows:
        answer = asker.read(unit_id, at.table, low, min(high, 0x10000) - low)
        if answer.is_good:
            break
        why = answer.describe()
        if answer.error is not None:
            return why
    else:
        return f"{at.describe()}: refused with {why}"
    while True:
        if answer.is_good:
            readings.append({low + n: answer.data[2 * n : 2 * n + 2] for n in range(len(answer.data) // 2)})
        if len(readings) >= reads:
            return readings
        working.text = f"{len(readings)} of {reads} readings"
        time.sleep(every_s)
        answer = asker.read(unit_id, at.table, low, high - low)
        if not answer.is_good:
            return readings


def _page(
    at: Address,
    place: int,
    found: Sequence[Guess],
    readings: Sequence[Registers],
    near: float | None,
    *,
    everything: bool,
    most: int,
) -> Iterator[str]:
    from gateway.cli.client import show
    from gateway.commission.guess import LONGEST

    last = readings[-1]
    words = " ".join(last[each].hex().upper() for each in range(place, place + LONGEST) if each in last)
    before = f" (before it {last[place - 1].hex().upper()})" if place - 1 in last else ""
    moves = any(reading != readings[0] for reading in readings)
    told = f", {len(readings)} readings" + ("" if moves else ", nothing moves") if len(readings) > 1 else ""
    yield f"{at.table.describe(place)}: {words}{before}{told}"
    fits = [guess for guess in found if guess.score < 0 and near is not None]
    others = [guess for guess in found if (everything or guess.is_plausible) and guess not in fits]
    if near is not None and not everything:
        others = [guess for guess in others if guess.scale == 1][: most - len(fits) if fits else most]
        fits = fits[:most]
        others = others[: OTHERS_BESIDE if fits else most]
    shown = [*fits, *(others if everything else others[:most])]
    if near is not None and not fits:
        yield f"  nothing comes near {near:g}: is it the right address, and the value that the device shows now?"
    if not everything and not any(guess.value for guess in shown if guess.address == place):
        yield "  all of it is 0: nothing to tell by; ask again when the device measures something"
        return
    if not shown:
        yield "  nothing plausible (--all shows the rest)"
        return
    values = [show(guess.value, guess.type) if guess.value is not None else "-" for guess in shown]
    width = min(24, max(map(len, values)))
    for n, (guess, value) in enumerate(zip(shown, values, strict=True)):
        if n == len(fits) and fits:
            yield "  not near it:"
        yield f"  {value:>{width}}  {guess.yaml(at.table)}"
        yield f"  {'':>{width}}    {', '.join(guess.reasons)}"
    if rest := len(found) - len(shown):
        yield f"  ({rest} more readings: --all)"


def _as_json(
    url: str,
    unit_id: int,
    at: Address,
    readings: Sequence[Registers],
    found: dict[int, list[Guess]],
    near: float | None,
) -> dict[str, Any]:
    return {
        "url": url,
        "unit": unit_id,
        "near": near,
        "registers": {str(address): data.hex().upper() for address, data in sorted(readings[-1].items())},
        "readings": len(readings),
        "places": [
            {
                "at": f"{at.table.word}:{place}",
                "guesses": [
                    {
                        "at": f"{at.table.word}:{guess.address}",
                        "registers": guess.registers,
                        "type": guess.type,
                        "order": guess.order,
                        "scale": float(guess.scale),
                        "value": guess.value,
                        "score": round(guess.score, 2),
                        "plausible": guess.is_plausible,
                        "reasons": guess.reasons,
                        "values": guess.values,
                        "yaml": guess.yaml(at.table),
                    }
                    for guess in each
                ],
            }
            for place, each in found.items()
        ],
    }
