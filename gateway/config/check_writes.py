"""What goes to a device: polls and tags that clients may write, pushes, the watchdog; each on its own and side by side.

What they need in our image (that a push's source exists) is judged in `check_image`.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from gateway.config.check_image import bits_of, owner_of, width_of
from gateway.config.check_times import MIN_INTERVAL_S, MIN_WATCHDOG_S, at_least
from gateway.config.model_devices import Device, Poll, Push, Tag, Watchdog
from gateway.config.tree import Findings, KeyPath, numbers_left, place_of
from gateway.modbus.spec import MAX_WRITE_BITS, MAX_WRITE_REGISTERS, Table
from gateway.values import TYPES

WRITABLE = (Table.COILS, Table.HOLDING)
"""The tables that Modbus has functions to write for."""
_NO_NUMBER = ("bool", "string")


def check_poll_write(poll: Poll, path: KeyPath, findings: Findings) -> None:
    if poll.write is None:
        _need_write(poll, "write: through", ("latest_only", "verify"), path, findings)
        return
    source, target = poll.read, poll.to.address
    if source.table not in WRITABLE:
        findings.error((*path, "write"), f"{source.describe()} cannot be written in any device; remove `write`")
    elif target.table not in WRITABLE and target.table.is_bits == source.table.is_bits:
        findings.error((*path, "to"), _no_client_writes(target.table, target.describe(), source.table))
    _check_verify(poll.verify_s, path, findings)


def check_tag_write(tag: Tag, path: KeyPath, findings: Findings) -> None:
    if not tag.write:
        _need_write(tag, "write: true", ("range", "latest_only", "verify"), path, findings)
        return
    here = (*path, "write")
    if tag.at.table not in WRITABLE:
        findings.error(here, f"{tag.at.describe()} cannot be written in any device; remove `write`")
    elif tag.to is None:
        fitting = "coils:220" if tag.type == "bool" else "holding:220"
        findings.error(
            here, f"without `to` there is nothing that clients could write; add for example `to: 1/{fitting}`"
        )
    elif tag.to.address.table not in WRITABLE:
        needed = Table.COILS if tag.to.address.table.is_bits else Table.HOLDING
        findings.error((*path, "to"), _no_client_writes(tag.to.address.table, tag.to.address.describe(), needed))
    if tag.type == "bool" and tag.as_ not in (None, "bool"):
        findings.error((*path, "as"), f"a bool that is shown as {tag.as_} cannot be written; remove `as`, or `write`")
    _check_range(tag, path, findings)
    _check_verify(tag.verify_s, path, findings)


def check_push(push: Push, device: Device, path: KeyPath, findings: Findings) -> None:
    target = push.write
    here = (*path, "write")
    if target.table not in WRITABLE:
        findings.error(here, f"{target.describe()} cannot be written in any device; write to holding or coils")
    elif target.bit is not None:
        findings.error(here, f"a push writes whole registers: write `{target.table.word}:{target.first}`")
    else:
        what, most, key = ("registers", MAX_WRITE_REGISTERS, "max_registers")
        if target.table.is_bits:
            what, most, key = ("coils", MAX_WRITE_BITS, "max_bits")
        allowed: int = getattr(device, key)
        if target.count > min(most, allowed):
            reason = f"one request writes at most {most} {what}"
            if allowed < most:
                reason = f"`{key}` of the device is {allowed}"
            findings.error(here, f"is {target.count} {what} in one request, {reason}; split it into several pushes")
    if push.on is None and push.every_s is None:
        findings.error(path, "nothing says when: add `on: change`, `every: 10s`, or both")
    if push.every_s is not None:
        at_least(findings, (*path, "every"), push.every_s, MIN_INTERVAL_S)


def check_watchdog(watchdog: Watchdog, path: KeyPath, findings: Findings) -> None:
    target = watchdog.write
    if target.table is not Table.HOLDING or target.bit is not None or target.count != 1:
        message = "a watchdog counts in one whole holding register, such as `holding:99`"
        findings.error((*path, "write"), f"{message}; this is {target.describe()}")
    at_least(findings, (*path, "every"), watchdog.every_s, MIN_WATCHDOG_S)


def warn_shared_targets(device: Device, path: KeyPath, findings: Findings, broken: frozenset[KeyPath]) -> None:
    """A push or the watchdog writes what something else of the same device writes: the last one wins."""
    if not device.push and device.watchdog is None:
        return
    ordered = sorted(_targets(device, path, broken))
    far = ordered[0]
    for target in ordered[1:]:
        if target[0] == far[0] and target[1] < far[2]:
            pair = sorted((far, target), key=lambda one: one[3][2] in ("push", "watchdog"))
            other, this = pair[0][3], pair[1][3]
            if this[2] in ("push", "watchdog"):
                place = place_of(findings.root, other)
                message = f"{owner_of(other)} ({place}) writes the same of the device: the last one wins"
                findings.warn(this, message)
        if target[0] != far[0] or target[2] > far[2]:
            far = target


def _targets(device: Device, path: KeyPath, broken: frozenset[KeyPath]) -> Iterator[tuple[Table, int, int, KeyPath]]:
    """(table, first bit, last bit excluded, key) of everything in the device that we write."""
    numbers = numbers_left((*path, "push"), len(device.push), broken)
    for number, push in zip(numbers, device.push, strict=True):
        yield push.write.table, *bits_of(push.write), (*path, "push", number, "write")
    if device.watchdog is not None:
        yield device.watchdog.write.table, *bits_of(device.watchdog.write), (*path, "watchdog", "write")
    numbers = numbers_left((*path, "poll"), len(device.poll), broken)
    for number, poll in zip(numbers, device.poll, strict=True):
        if poll.write is not None:
            yield poll.read.table, *bits_of(poll.read), (*path, "poll", number, "write")
    for name, tag in device.tags.items():
        if tag.write:
            yield tag.at.table, *bits_of(tag.at._replace(count=width_of(tag))), (*path, "tags", name, "write")


def _need_write(job: Poll | Tag, write: str, keys: tuple[str, ...], path: KeyPath, findings: Findings) -> None:
    for key in keys:
        value = getattr(job, f"{key}_s" if key == "verify" else key)
        if value is not None and value is not False:
            findings.error((*path, key), f"does nothing without `{write}`; add that, or remove the key", key=True)


def _no_client_writes(table: Table, described: str, fitting: Table) -> str:
    return (
        f"clients can write holding and coils only, this is {described}: "
        f"`write` needs it in {fitting.word}, not in {table.word}"
    )


def _check_verify(verify_s: float | None, path: KeyPath, findings: Findings) -> None:
    if verify_s is not None:
        at_least(findings, (*path, "verify"), verify_s, MIN_INTERVAL_S)


def _check_range(tag: Tag, path: KeyPath, findings: Findings) -> None:
    if tag.range is None:
        return
    here = (*path, "range")
    if tag.type in _NO_NUMBER:
        findings.error(here, f"a {tag.type} is no number; remove the key", key=True)
        return
    low, high = tag.range
    at_device = _limits(tag.type)
    if at_device is not None and tag.scale != 0:
        least, most = sorted(limit * tag.scale + tag.offset for limit in at_device)
        if high < least or low > most:
            scaled = " with this scale" if tag.scale != 1 or tag.offset != 0 else ""
            message = (
                f"{tag.type}{scaled} holds {_number(least)}..{_number(most)}: nothing in this range can be written"
            )
            findings.warn(here, message)
            return
    shown = tag.as_ or tag.type
    in_image = _limits(shown) if shown != "raw" else None
    if in_image is not None and (high < in_image[0] or low > in_image[1]):
        message = (
            f"clients write {shown}, which holds {in_image[0]}..{in_image[1]}: nothing in this range can be written"
        )
        findings.warn(here, message)


def _limits(kind: str) -> tuple[int, int] | None:
    low, high = TYPES[kind].low, TYPES[kind].high
    return None if low is None or high is None else (low, high)


def _number(value: Fraction | int) -> str:
    return str(int(value)) if value == int(value) else f"{float(value):g}"
