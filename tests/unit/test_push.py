"""Our registers written to a device: when, what, and when not."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from gateway.bank import Bank, Span
from gateway.errors import LinkDown, OutcomeUnknown
from gateway.modbus.spec import Table
from gateway.writing.destination import Destination
from gateway.writing.push import RETRY_S, TOLD_S, Push, Watchdog, Written
from tests.support.written import BookDevice, Bringer

H, C = Table.HOLDING, Table.COILS


class Plant:
    """holding 0..9 of ours; 4 and 5 can be claimed as copies of another device's. A push of 2..5 to holding 100."""

    def __init__(self, *, on_change: bool = True, has_cycle: bool = False, force_multiple: bool = False) -> None:
        self.now_s = 0.0
        self.soon: list[Callable[[], object]] = []
        self.device = BookDevice()
        self.bringer = Bringer(self.device)
        self.bank = Bank({H: [(0, 300)], C: [(0, 3000)]})
        self.written = Written()
        self.judge: Callable[[], None] = lambda: None
        self.bank.on_write = self.written.note
        self.press = Destination("press", self.bringer, force_multiple=force_multiple)
        self._how = (on_change, has_cycle)

    def push(self, first: int = 2, count: int = 4, to: int = 100, table: Table = H) -> Push:
        on_change, has_cycle = self._how
        return Push(
            self.bank,
            table,
            first,
            count,
            self.written,
            self.press,
            table,
            to,
            on_change=on_change,
            has_cycle=has_cycle,
            soon=self.soon.append,
            judge=lambda: self.judge(),
            now=lambda: self.now_s,
        )

    def ask(self, request: str) -> None:
        assert self.bank.answer(bytes.fromhex(request))[0] < 0x80  # type: ignore[index]

    def write(self, first: int, *values: int) -> None:
        """As a client does."""
        data = b"".join(value.to_bytes(2, "big") for value in values)
        head = bytes((16,)) + first.to_bytes(2, "big") + len(values).to_bytes(2, "big") + bytes((len(data),))
        self.ask((head + data).hex())

    def turn(self) -> list[str]:
        """What was put off until the event is over; what the device was asked since."""
        while self.soon:
            self.soon.pop(0)()
        return self.device.take()

    def claim(self, first: int, count: int) -> Span:
        (span,) = self.bank.claim([(H, first, count)])
        return span

    def fill(self, span: Span, value: str) -> None:
        """As a poll does."""
        self.bank.put_registers(H, span.first, bytes.fromhex(value))
        self.bank.unblock(span)
        span.stale = False


def test_nothing_is_sent_before_every_source_register_was_written() -> None:
    plant = Plant()
    push = plant.push()
    push.check()
    plant.write(2, 0x1111)
    plant.write(4, 0x3333, 0x4444)
    push.check()
    push.tick()
    assert plant.turn() == []
    plant.write(3, 0x2222)
    assert plant.device.take() == [], "not within the client's request"
    assert plant.turn() == ["1000640004081111222233334444"]


@pytest.mark.parametrize("marks", [[(2, 4)], [(0, 300)], [(2, 2), (4, 2)]])
def test_initial_and_retained_values_count_as_written(marks: list[tuple[int, int]]) -> None:
    plant = Plant()
    for first, count in marks:
        plant.written.mark(H, first, count)
    assert plant.push().check()
    assert plant.turn() == ["100064000408" + "0000" * 4]


@pytest.mark.parametrize("marks", [[(3, 3)], [(2, 3)], [(6, 100)], [(0, 2)]])
def test_a_register_that_was_not_written_keeps_it_silent(marks: list[tuple[int, int]]) -> None:
    plant = Plant()
    for first, count in marks:
        plant.written.mark(H, first, count)
    push = plant.push()
    push.check()
    push.tick()
    push.link_changed(True)
    assert plant.turn() == []


def test_a_register_of_which_only_initial_is_known_is_not_kept() -> None:
    plant = Plant()
    written = plant.written
    assert written.kept(H, 0, 300) == []
    written.mark(H, 0, 10)
    written.mark(H, 20, 5, kept=True)
    plant.write(3, 1)
    plant.write(24, 1, 2)
    plant.ask("050009ff00")
    assert written.kept(H, 0, 300) == [(3, 4), (20, 26)]
    assert written.kept(H, 4, 23) == [(20, 23)]
    assert written.kept(H, 25, 26) == [(25, 26)]
    assert written.kept(C, 0, 300) == [(9, 10)]
    assert not written.missing(H, 0, 10)
    written.forget(H, 22, 1)
    written.keep({H: [(0, 25)]})
    assert written.kept(H, 0, 300) == [(3, 4), (20, 22), (23, 25)]
    assert written.kept(C, 0, 300) == []
    assert not written.missing(H, 0, 10)


def test_what_was_taken_away_has_to_be_written_again() -> None:
    plant = Plant()
    plant.written.mark(H, 0, 10)
    plant.written.forget(H, 5, 1)
    push = plant.push()
    push.check()
    assert plant.turn() == []


def test_a_change_is_sent_once_and_only_a_change() -> None:
    plant = Plant()
    push = plant.push()
    plant.write(2, 1, 2, 3, 4)
    assert plant.turn() == ["1000640004080001000200030004"]
    plant.write(2, 1, 2, 3, 4)
    plant.write(6, 9)
    assert plant.turn() == []
    plant.write(5, 7)
    plant.write(5, 8)
    assert len(plant.soon) == 1
    assert plant.turn() == ["1000640004080001000200030008"], "several requests of one event are one change"
    push.check()
    assert plant.turn() == []


def test_a_cycle_alone_sends_in_its_turn_and_changes_do_not() -> None:
    plant = Plant(on_change=False, has_cycle=True)
    push = plant.push(count=1)
    plant.write(2, 1)
    push.check()
    assert plant.turn() == []
    for _ in range(2):
        assert push.tick()
        assert plant.turn() == ["0600640001"]


@pytest.mark.parametrize(("force_multiple", "asked"), [(False, ["0600640007"]), (True, ["1000640001020007"])])
def test_one_register_is_sent_with_06_unless_the_device_has_none(force_multiple: bool, asked: list[str]) -> None:
    plant = Plant(force_multiple=force_multiple)
    plant.push(count=1)
    plant.write(2, 7)
    assert plant.turn() == asked


def test_coils_are_sent_with_05_and_15() -> None:
    plant = Plant()
    plant.push(first=3, count=1, to=7, table=C)
    plant.push(first=3, count=9, to=20, table=C)
    plant.ask("0f 0003 0009 02 0301".replace(" ", ""))
    assert plant.turn() == ["050007ff00", "0f00140009020301"]


def test_long_ranges_are_sent_in_as_many_requests_as_it_takes_and_a_refusal_ends_them() -> None:
    plant = Plant()
    push = plant.push(first=0, count=200, to=10)
    plant.written.mark(H, 0, 300)
    plant.bank.put_registers(H, 123, b"\x12\x34")
    push.check()
    first, second = plant.turn()
    assert (first[:12], second[:16]) == ("10000a007bf6", "100085004d9a1234")
    plant.device.refuses[16] = 2
    plant.write(0, 1)
    assert len(plant.turn()) == 1

    coils = plant.push(first=0, count=2000, to=0, table=C)
    plant.written.mark(C, 0, 3000)
    plant.bank.put_bits(C, 1968, 3, b"\5")
    plant.device = plant.bringer.device = BookDevice()
    plant.device.coils = [0] * 1000
    asked: list[bytes] = []
    plant.device.answer = lambda pdu: asked.append(pdu) or pdu[:5]  # type: ignore[method-assign, func-returns-value]
    coils.check()
    assert [pdu[:6].hex() for pdu in asked] == ["0f000007b0f6", "0f07b0002004"]
    assert asked[1][6:] == b"\5\0\0\0"


def test_one_write_is_out_at_a_time_and_what_changed_meanwhile_follows() -> None:
    plant = Plant(has_cycle=True)
    push = plant.push(count=1)
    plant.bringer.waits = True
    plant.write(2, 1)
    plant.turn()
    for value in (2, 3):
        plant.write(2, value)
        assert not push.check()
        assert not push.tick()
        plant.turn()
    assert len(plant.bringer.waiting) == 1
    plant.bringer.run()
    assert plant.device.take() == ["0600640001"]
    plant.bringer.run()
    assert plant.device.take() == ["0600640003"]
    plant.bringer.run()
    assert plant.device.take() == []
    assert (plant.press.done, plant.press.waiting) == (2, 0)


def test_copies_of_a_device_are_sent_when_they_change_and_only_while_they_are_good() -> None:
    plant = Plant()
    span = plant.claim(4, 2)
    push = plant.push()
    plant.fill(span, "0003 0004")
    push.check()
    assert plant.turn() == [], "the registers before them are ours"
    plant.bank.block(span, 0x0B)
    plant.write(2, 1, 2)
    assert plant.turn() == []
    plant.fill(span, "0003 0004")
    push.check()
    assert plant.turn() == ["1000640004080001000200030004"]
    push.check()
    assert plant.turn() == []
    plant.fill(span, "0003 0005")
    push.check()
    assert plant.turn() == ["1000640004080001000200030005"]

    span.stale = True  # `on_stale: hold` or `zero`: readers get something, the device does not
    plant.bank.put_registers(H, 4, bytes(4))
    plant.write(2, 9)
    push.check()
    push.tick()
    assert plant.turn() == []
    plant.fill(span, "0003 0005")
    push.check()
    assert plant.turn() == ["1000640004080009000200030005"]
    plant.bank.block(span, 0x0B)
    plant.write(2, 10)
    push.tick()
    assert plant.turn() == []


def test_what_has_grown_old_while_the_process_slept_is_not_sent() -> None:
    plant = Plant(has_cycle=True)
    span = plant.claim(2, 4)
    push = plant.push()
    plant.fill(span, "0001 0002 0003 0004")
    push.tick()
    assert len(plant.turn()) == 1
    plant.fill(span, "0001 0002 0003 0005")
    plant.judge = lambda: plant.bank.block(span, 0x0B)
    push.tick()
    push.check()
    assert plant.turn() == []


def test_what_a_device_was_copied_to_and_is_ours_now_has_to_be_written() -> None:
    plant = Plant()
    span = plant.claim(2, 4)
    push = plant.push()
    plant.fill(span, "0001 0002 0003 0004")
    push.check()
    assert len(plant.turn()) == 1
    plant.bank.release([span])
    push.tick()
    assert plant.turn() == []


def test_after_an_outage_the_current_value_is_sent_once(caplog: pytest.LogCaptureFixture) -> None:
    plant = Plant()
    push = plant.push(count=1)
    plant.bringer.fails = LinkDown("not connected")
    with caplog.at_level(logging.INFO):
        for value in (1, 2, 3):
            plant.write(2, value)
            assert plant.turn() == []
        plant.bringer.fails = None
        push.link_changed(False)
        assert plant.turn() == []
        push.link_changed(True)
        assert plant.turn() == ["0600640003"]
        push.link_changed(True)
        push.check()
        assert plant.turn() == []
    assert caplog.messages == [], "that the device was away is told by its link"
    assert (plant.press.refused, plant.press.done) == (0, 1)


def test_a_failure_and_its_end_are_told_once_and_it_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    plant = Plant()
    push = plant.push(count=1)
    plant.device.refuses[6] = 2
    with caplog.at_level(logging.INFO):
        plant.write(2, 1)
        assert plant.turn() == ["0600640001"]
        push.check()
        assert plant.turn() == [], "not at once"
        plant.now_s += RETRY_S
        push.check()
        assert plant.turn() == ["0600640001"]
        assert caplog.messages == [
            "device press: push to holding:100 (400101) fails: the device answered 02 illegal data address"
        ]
        plant.device.refuses.clear()
        plant.now_s += RETRY_S
        push.check()
        assert plant.turn() == ["0600640001"]
        assert caplog.messages[1:] == ["device press: push to holding:100 (400101) works again"]
    assert push.trouble == ""
    assert (plant.press.done, plant.press.refused) == (1, 2)


def test_with_a_cycle_a_failure_is_repeated_in_the_next_cycle() -> None:
    plant = Plant(has_cycle=True)
    push = plant.push(count=1)
    plant.bringer.fails = OutcomeUnknown("no answer within 1 s")
    plant.write(2, 1)
    plant.turn()
    plant.bringer.fails = None
    plant.now_s += 10 * RETRY_S
    push.check()
    assert plant.turn() == []
    plant.bank.put_registers(H, 2, b"\0\5")
    push.tick()
    assert plant.turn() == ["0600640005"], "the value now, not the one that failed"
    assert plant.press.unknown == 1


def test_after_an_unknown_outcome_the_old_value_is_a_change_too() -> None:
    plant = Plant()
    plant.push(count=1)
    plant.write(2, 1)
    plant.turn()
    plant.bringer.fails = OutcomeUnknown("no answer within 1 s")
    plant.write(2, 2)
    plant.turn()
    plant.bringer.fails = None
    plant.write(2, 1)
    assert plant.turn() == ["0600640001"], "the device may have the 2"


def test_an_unknown_outcome_of_a_push_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    plant = Plant()
    push = plant.push(count=1)
    plant.bringer.fails = OutcomeUnknown("no answer within 1 s")
    plant.write(2, 1)
    plant.turn()
    push.link_changed(True)
    assert caplog.messages == ["device press: push to holding:100 (400101) fails: no answer within 1 s"]


def test_a_closed_push_sends_nothing_any_more() -> None:
    plant = Plant()
    push = plant.push(count=1)
    plant.bringer.waits = True
    plant.write(2, 1)
    plant.turn()
    (write,) = plant.bringer.waiting
    plant.write(2, 2)
    push.close()
    assert not write.wanted
    plant.bringer.run()
    assert plant.turn() == ["0600640001"], "what was begun is over, the change after it is not sent"
    push.check()
    push.tick()
    plant.write(2, 3)
    assert plant.soon == []
    assert plant.turn() == []
    assert plant.bringer.waiting == []


def test_what_fails_every_second_time_is_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    plant = Plant(on_change=False, has_cycle=True)
    plant.written.mark(H, 0, 10)
    push = plant.push(count=1)
    watchdog = Watchdog(plant.press, 99, now=lambda: plant.now_s)
    failed = "fails: the device answered 02 illegal data address"
    with caplog.at_level(logging.INFO):
        for _ in range(int(TOLD_S)):
            for refuses in ({6: 2}, {}):
                plant.device.refuses = refuses
                push.tick()
                watchdog.tick()
                plant.now_s += 0.5
        names = ("push to holding:100 (400101)", "watchdog holding:99 (400100)")
        assert caplog.messages == [f"device press: {name} {end}" for end in (failed, "works again") for name in names]
        caplog.clear()
        plant.device.refuses = {6: 2}
        push.tick()
        watchdog.tick()
        assert caplog.messages == [f"device press: {name} {failed} (59 times since)" for name in names]


def test_a_failure_that_came_too_soon_to_be_told_is_told_later_if_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    plant = Plant()
    watchdog = Watchdog(plant.press, 99, now=lambda: plant.now_s)
    with caplog.at_level(logging.INFO):
        for refuses in ({6: 2}, {}):
            plant.device.refuses = refuses
            watchdog.tick()
        caplog.clear()
        plant.device.refuses = {6: 2}
        for _ in range(10):
            plant.now_s += 6.0
            watchdog.tick()
        assert [message.split(" (")[-1] for message in caplog.messages] == ["9 times since)"]
        plant.device.refuses = {}
        watchdog.tick()
        assert caplog.messages[1:] == ["device press: watchdog holding:99 (400100) works again"]
        plant.now_s += TOLD_S
        plant.device.refuses = {6: 2}
        watchdog.tick()
        assert "since" not in caplog.messages[-1], "what the line before spoke for is not counted"


# -- watchdog -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("force_multiple", "asked"),
    [(False, ["0600630000", "0600630001"]), (True, ["1000630001020000", "1000630001020001"])],
)
def test_the_watchdog_counts(force_multiple: bool, asked: list[str]) -> None:
    plant = Plant(force_multiple=force_multiple)
    watchdog = Watchdog(plant.press, 99)
    assert watchdog.tick()
    assert watchdog.tick()
    assert plant.turn() == asked


def test_the_watchdog_begins_again_after_65535_and_skips_while_one_is_out() -> None:
    plant = Plant()
    watchdog = Watchdog(plant.press, 99)
    watchdog.count = 65535
    plant.bringer.waits = True
    assert watchdog.tick()
    assert not watchdog.tick()
    plant.bringer.run()
    assert watchdog.tick()
    plant.bringer.run()
    assert plant.turn() == ["060063ffff", "0600630000"]


def test_the_watchdog_tells_the_first_failure_and_the_end(caplog: pytest.LogCaptureFixture) -> None:
    plant = Plant()
    watchdog = Watchdog(plant.press, 99)
    with caplog.at_level(logging.INFO):
        plant.bringer.fails = LinkDown("not connected")
        watchdog.tick()
        assert caplog.messages == []
        plant.bringer.fails = OutcomeUnknown("no answer within 1 s")
        watchdog.tick()
        watchdog.tick()
        plant.bringer.fails = None
        watchdog.tick()
        watchdog.tick()
    assert caplog.messages == [
        "device press: watchdog holding:99 (400100) fails: no answer within 1 s",
        "device press: watchdog holding:99 (400100) works again",
    ]
    watchdog.close()
