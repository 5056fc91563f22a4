"""The forward over a fake link and a fake writer: what is asked once, what is kept, what counts as a write."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

from gateway.errors import LinkBusy, LinkDown, LinkError, MalformedResponse, OutcomeUnknown, RequestTimeout, UnitSilent
from gateway.forwarding.forward import MAX_CACHED, MAX_WRITES_AHEAD, Forward
from gateway.interfaces import Later, Priority, Request, Write
from gateway.modbus.reach import describe
from tests.support.wire import hexed

READ = hexed("03 0000 0002")
ANSWER = hexed("03 04 0001 0002")
NEW = hexed("03 04 0003 0004")
WRITE = hexed("06 0000 0007")
CACHE_S = 0.2


class Device:
    """Where a link and a writer stand; the test sends, answers and fails."""

    def __init__(self, **settings: Any) -> None:
        self.now_s = 100.0
        self.requests: list[Request] = []
        self.writes: list[Write] = []
        self.down: LinkError | None = None
        self.forward = Forward(self.submit, self.write, 7, 1.5, lambda: self.now_s, **settings)

    def submit(self, request: Request) -> None:
        request.attempts = 0
        if self.down is not None:
            request.done(None, self.down)
        else:
            self.requests.append(request)

    def write(self, write: Write) -> None:
        if self.down is not None:
            write.done(None, self.down)
        else:
            self.writes.append(write)

    def send(self) -> None:
        for request in self.requests:
            request.attempts = 1

    def answer(self, answer: bytes | None, error: LinkError | None = None) -> None:
        """The oldest read."""
        self.send()
        self.requests.pop(0).done(answer, error)

    def write_answer(self, answer: bytes | None, error: LinkError | None = None) -> None:
        """The oldest write, as a Writer ends it."""
        write = self.writes.pop(0)
        pdu = next(write.steps())
        if (answer is not None and answer[0] < 0x80) or isinstance(error, OutcomeUnknown):
            self.forward.written(pdu, answer, write.hold_s)
        write.done(answer, error)


def ask(device: Device, pdu: bytes) -> Later:
    answer = device.forward.answer(pdu)
    assert isinstance(answer, Later)
    assert not answer.is_settled
    return answer


# -- what passes, and how


def test_a_read_passes_as_it_is_with_the_units_own_id_and_time_out() -> None:
    device = Device(quirks=frozenset({"tid_zero"}))
    later = ask(device, READ)
    (request,) = device.requests
    assert (request.unit_id, request.pdu, request.timeout_s, request.retries) == (7, READ, 1.5, 0)
    assert (request.quirks, request.priority) == (frozenset({"tid_zero"}), Priority.ASK)
    assert request.tail == hexed("0000 0006 07") + READ

    device.answer(ANSWER)
    assert later.answer == ANSWER


def test_an_exception_of_the_device_passes_unchanged() -> None:
    device = Device()
    later = ask(device, READ)
    device.answer(b"\x83\x04")
    assert later.answer == b"\x83\x04"
    written = ask(device, WRITE)
    device.write_answer(b"\x86\x06")
    assert written.answer == b"\x86\x06"


ERRORS = [
    (LinkDown("refused"), 0x0B),
    (UnitSilent("demoted"), 0x0B),
    (RequestTimeout("1 s"), 0x0B),
    (MalformedResponse("shape"), 0x0B),
    (LinkBusy("full"), 0x0A),
    (OutcomeUnknown("1 s"), 0x0B),
]


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=[type(error).__name__ for error, _ in ERRORS])
def test_what_the_link_cannot_is_told_with_the_gateways_codes(error: LinkError, code: int) -> None:
    device = Device()
    read, write = ask(device, READ), ask(device, WRITE)
    device.answer(None, error)
    device.write_answer(None, error)
    assert read.answer == bytes((0x83, code))
    assert write.answer == bytes((0x86, code))
    assert device.forward.counters.failed == 2


@pytest.mark.parametrize("pdu", [READ, WRITE, hexed("11")], ids=["a read", "a write", "an ask"])
def test_what_fails_at_once_is_answered_at_once(pdu: bytes) -> None:
    device = Device()
    device.down = LinkDown("refused")
    assert device.forward.answer(pdu) == bytes((pdu[0] | 0x80, 0x0B))
    device.down = None
    assert isinstance(device.forward.answer(pdu), Later), "it was no flight to join"
    assert device.forward.may_overtake(READ) is (pdu != WRITE), "what failed is not on its way"


HARMLESS = [
    "01 0000 0001",
    "02 0000 0001",
    "03 0000 0001",
    "04 0000 0001",
    "07",
    "0B",
    "0C",
    "11",
    "14 07 06 0004 0001 0002",
]
HARMLESS += ["18 04DE", "2B 0E 01 00", "08 0000 A537", "08 0002 0000", "08 000B 0000", "08 0012 0000"]
CHANGING = ["05 0000 FF00", "06 0000 0001", "0F 0000 0001 01 01", "10 0000 0001 02 0007", "16 0000 00F2 0025"]
CHANGING += [
    "17 0000 0001 0000 0001 02 0007",
    "15 09 06 0004 0007 0001 06AF",
    "08 0001 0000",
    "08 000A 0000",
    "08",
    "2B",
]
CHANGING += ["2B 0D 00", "41 01", "64", "7F"]


@pytest.mark.parametrize("text", HARMLESS)
def test_a_read_is_submitted_also_where_clients_may_only_read(text: str) -> None:
    device = Device(read_only=True)
    later = ask(device, hexed(text))
    assert [request.pdu for request in device.requests] == [hexed(text)]
    assert device.writes == []
    device.answer(b"\x7f any")
    assert later.answer == b"\x7f any"


@pytest.mark.parametrize("text", CHANGING)
def test_whatever_may_change_the_device_goes_through_its_writer_and_is_refused_where_clients_may_only_read(
    text: str,
) -> None:
    pdu = hexed(text)
    device = Device()
    later = ask(device, pdu)
    assert device.requests == []
    assert [next(write.steps()) for write in device.writes] == [pdu]
    device.write_answer(b"\x7f any")
    assert later.answer == b"\x7f any"

    strict = Device(read_only=True)
    assert strict.forward.answer(pdu) == bytes((pdu[0] | 0x80, 0x01))
    assert strict.writes == []
    counted = strict.forward.counters.snapshot()
    assert counted.pop("took")["count"] == 0  # nobody waited
    assert counted == {"cached": 0, "failed": 0, "refused": 1, "requests": 1, "shared": 0}


def test_the_steps_of_a_write_return_the_devices_answer() -> None:
    device = Device()
    ask(device, WRITE)
    steps = device.writes[0].steps()
    assert next(steps) == WRITE
    with pytest.raises(StopIteration) as end:
        steps.send(b"\x86\x02")
    assert end.value.value == b"\x86\x02"


@pytest.mark.parametrize("function", [0x00, 0x80, 0x83, 0xFF])
def test_what_is_no_function_code_is_refused(function: int) -> None:
    device = Device()
    assert device.forward.answer(bytes((function, 0, 0))) == bytes((function | 0x80, 0x01))
    assert device.requests == []
    assert device.writes == []


def test_an_empty_request_is_refused() -> None:
    assert Device().forward.answer(b"") == b"\x80\x01"


def test_only_allowed_functions_pass() -> None:
    device = Device(functions=frozenset({3, 6, 8}))
    assert device.forward.answer(hexed("04 0000 0001")) == b"\x84\x01"
    assert device.forward.answer(hexed("10 0000 0001 02 0001")) == b"\x90\x01"
    ask(device, READ)
    ask(device, WRITE)
    ask(device, hexed("08 0000 1234"))
    assert device.forward.counters.refused == 2


# -- asked once


def test_identical_reads_in_flight_are_asked_once_and_all_get_the_answer() -> None:
    device = Device()
    first, second = ask(device, READ), ask(device, bytes(bytearray(READ)))
    other = ask(device, hexed("03 0000 0003"))
    device.send()
    third = ask(device, READ)
    assert len(device.requests) == 2

    device.answer(ANSWER)
    assert [first.answer, second.answer, third.answer] == [ANSWER] * 3
    assert not other.is_settled
    assert device.forward.counters.shared == 2
    ask(device, READ)
    assert len(device.requests) == 2, "a flight that has landed is joined by nobody"


def test_all_who_share_a_flight_share_its_failure() -> None:
    device = Device()
    laters = [ask(device, READ) for _ in range(3)]
    device.answer(None, RequestTimeout("1 s"))
    assert [later.answer for later in laters] == [b"\x83\x0b"] * 3
    assert device.forward.counters.failed == 3


@pytest.mark.parametrize("text", ["11", "18 04DE", "08 0000 0001", "2B 0E 01 00"])
def test_what_may_answer_otherwise_each_time_is_asked_each_time(text: str) -> None:
    device = Device(cache_s=CACHE_S)
    laters = [ask(device, hexed(text)), ask(device, hexed(text))]
    assert len(device.requests) == 2
    device.answer(b"\x7f one")
    device.answer(b"\x7f two")
    assert [later.answer for later in laters] == [b"\x7f one", b"\x7f two"]


def test_a_client_that_goes_leaves_the_flight_and_the_others_get_their_answer() -> None:
    device = Device()
    first, second = ask(device, READ), ask(device, READ)
    first.abandon()
    assert device.requests[0].wanted
    device.answer(ANSWER)
    assert second.answer == ANSWER
    assert first.answer is None


def test_a_flight_that_nobody_waits_for_is_not_sent_and_not_joined() -> None:
    device = Device()
    laters = [ask(device, READ), ask(device, READ)]
    for later in laters:
        later.abandon()
    assert not device.requests[0].wanted

    again = ask(device, READ)
    assert len(device.requests) == 2
    device.answer(None, LinkDown("its client has gone"))
    assert not again.is_settled
    device.answer(ANSWER)
    assert again.answer == ANSWER
    assert device.forward.counters.failed == 0


def test_a_flight_that_was_sent_flies_on_without_its_client_and_may_be_joined() -> None:
    device = Device()
    first = ask(device, READ)
    device.send()
    first.abandon()
    assert device.requests[0].wanted
    second = ask(device, READ)
    device.answer(ANSWER)
    assert second.answer == ANSWER


def test_a_client_that_asks_the_same_from_inside_its_answer_gets_a_flight_of_its_own() -> None:
    device = Device()
    first = ask(device, READ)
    again: list[Later] = []
    first.then(lambda: again.append(ask(device, READ)))
    device.answer(ANSWER)
    assert len(device.requests) == 1
    device.answer(NEW)
    assert again[0].answer == NEW


# -- writes and what was read before


@pytest.mark.parametrize("whose", ["a client's", "somebody else's"])
def test_a_read_after_a_write_does_not_join_a_flight_from_before_it(whose: str) -> None:
    device = Device()
    before = ask(device, READ)
    device.send()
    if whose == "a client's":
        ask(device, WRITE)
    else:
        device.forward.written(WRITE, WRITE, 0.0)
    after = ask(device, READ)
    assert len(device.requests) == 2

    device.answer(ANSWER)
    assert before.answer == ANSWER
    assert not after.is_settled
    joins = ask(device, READ)
    device.answer(NEW)
    assert (after.answer, joins.answer) == (NEW, NEW)


def test_a_flight_that_began_while_a_write_was_out_is_not_joined_after_it() -> None:
    device = Device()
    ask(device, WRITE)
    during = ask(device, READ)
    device.send()
    device.write_answer(WRITE)
    after = ask(device, READ)
    device.answer(ANSWER)
    assert during.answer == ANSWER
    assert not after.is_settled


def test_requests_of_one_client_are_done_in_its_order() -> None:
    device = Device()
    forward = device.forward
    other = hexed("03 0005 0001")
    ask(device, READ)
    assert forward.may_overtake(other)
    assert forward.may_overtake(hexed("11"))
    assert not forward.may_overtake(WRITE), "the read before it must not see it"
    assert not forward.may_overtake(hexed("08 0001 0000"))
    assert forward.may_overtake(hexed("08 0000 0001"))
    device.answer(ANSWER)

    ask(device, WRITE)
    assert forward.may_overtake(WRITE), "the writer keeps their order"
    assert not forward.may_overtake(READ), "it must see the write"
    assert not forward.may_overtake(hexed("08 0000 0001"))
    device.write_answer(WRITE)
    assert forward.may_overtake(READ)


def test_one_client_does_not_fill_the_writer() -> None:
    device = Device()
    for _ in range(MAX_WRITES_AHEAD):
        assert device.forward.may_overtake(WRITE)
        ask(device, WRITE)
    assert not device.forward.may_overtake(WRITE)
    device.write_answer(WRITE)
    assert device.forward.may_overtake(WRITE)


def test_a_write_whose_client_has_gone_need_not_begin() -> None:
    device = Device()
    later = ask(device, WRITE)
    later.abandon()
    assert not device.writes[0].wanted
    device.write_answer(None, LinkDown("its client has gone"))
    assert device.forward.may_overtake(READ)


# -- the cache


def cached(device: Device, answer: bytes = ANSWER) -> None:
    ask(device, READ)
    device.answer(answer)


def test_answers_are_kept_for_the_cache_time_from_their_arrival() -> None:
    device = Device(cache_s=CACHE_S)
    later = ask(device, READ)
    device.now_s += 1.0
    device.answer(ANSWER)
    assert later.answer == ANSWER
    device.now_s += 0.19
    assert device.forward.answer(READ) == ANSWER
    assert device.forward.counters.cached == 1

    device.now_s += 0.02
    again = ask(device, READ)
    device.answer(NEW)
    assert again.answer == NEW
    assert device.forward.answer(READ) == NEW


def test_without_a_cache_time_nothing_is_kept() -> None:
    device = Device()
    cached(device)
    ask(device, READ)


def test_exceptions_and_failures_are_not_kept() -> None:
    device = Device(cache_s=CACHE_S)
    cached(device, b"\x83\x02")
    ask(device, READ)
    device.answer(None, RequestTimeout("1 s"))
    ask(device, READ)


@pytest.mark.parametrize("answer", [WRITE, None], ids=["done", "outcome unknown"])
def test_a_write_of_anyone_empties_the_cache(answer: bytes | None) -> None:
    device = Device(cache_s=CACHE_S)
    cached(device)
    device.forward.written(WRITE, answer, 0.0)
    ask(device, READ)


def test_a_clients_write_empties_the_cache_when_it_begins_and_nothing_is_kept_while_it_is_out() -> None:
    device = Device(cache_s=CACHE_S)
    cached(device)
    ask(device, WRITE)
    cached(device)
    ask(device, READ)
    device.write_answer(WRITE)
    device.answer(NEW)
    ask(device, READ)  # the one before began before the write had ended
    device.answer(NEW)
    assert device.forward.answer(READ) == NEW


@pytest.mark.parametrize("whose", ["a client's", "somebody else's"])
def test_the_answer_of_a_read_that_was_sent_before_a_write_is_not_kept(whose: str) -> None:
    device = Device(cache_s=CACHE_S)
    ask(device, READ)
    device.send()
    if whose == "a client's":
        ask(device, WRITE)
        device.write_answer(WRITE)
    else:
        device.forward.written(WRITE, WRITE, 0.0)
    device.answer(ANSWER)
    ask(device, READ)


def test_while_a_write_is_verified_nothing_is_kept() -> None:
    device = Device(cache_s=CACHE_S)
    device.forward.written(WRITE, WRITE, 1.0)
    cached(device)
    ask(device, READ)
    device.now_s += 1.01
    device.answer(NEW)
    assert device.forward.answer(READ) == NEW


def test_the_cache_is_bounded_and_the_oldest_goes_first() -> None:
    device = Device(cache_s=CACHE_S)
    reads = [b"\x03" + address.to_bytes(2, "big") + b"\0\1" for address in range(MAX_CACHED + 1)]
    for read in reads:
        ask(device, read)
        device.answer(ANSWER)
    kept = [isinstance(device.forward.answer(read), bytes) for read in reads]
    assert kept == [False] + [True] * MAX_CACHED


# -- no work for the collector


def test_forwarded_requests_leave_nothing_to_collect() -> None:
    device = Device(cache_s=0.0)

    def forwarded(pdu: bytes, answer: Callable[[bytes], None]) -> None:
        later = ask(device, pdu)
        later.then(lambda: None)
        answer(pdu)

    gc.collect()
    gc.disable()
    try:
        for _ in range(100):
            forwarded(READ, device.answer)
            forwarded(WRITE, device.write_answer)
        assert gc.collect() == 0
    finally:
        gc.enable()


# -- words for the log


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("05 000A FF00", "coils:10 (000011)"),
        ("06 000A 0001", "holding:10 (400011)"),
        ("0F 0000 0010 02 FFFF", "coils:0..15 (000001..000016)"),
        ("10 0064 0002 04 0000 0000", "holding:100..101 (400101..400102)"),
        ("10 0064 0001 02 0000", "holding:100 (400101)"),
        ("16 0004 00F2 0025", "holding:4 (400005)"),
        ("17 0000 0001 0007 0001 02 0007", "holding:7 (400008)"),
        ("10 0064 0000 00", "holding:100 (400101)"),
        ("06 00", "function 06"),
        ("17 0000", "function 17"),
        ("64 0102 0304", "function 64"),
    ],
)
def test_a_write_is_named_by_what_it_writes_to(text: str, said: str) -> None:
    assert describe(hexed(text)) == said
