"""Functions 08, 11 and 12 beyond the vectors: what is counted, and the event log that is made of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Refused
from gateway.front import events
from gateway.front.counters import Counters, LineCounters, Traffic
from gateway.front.diagnostics import Diagnostics
from gateway.front.events import MAX_EVENTS, Events
from tests.support.wire import hexed


def diagnostics(traffic: Traffic, register: int = 0) -> Diagnostics:
    return Diagnostics(traffic, lambda: register)


def counted(requests: int = 0) -> Counters:
    """As after so many ordinary messages."""
    counters = Counters()
    counters.requests = requests
    return counters


# -- the specification's examples -----------------------------------------------------------------------------------


def test_the_example_of_08_0b_reads_4660_messages() -> None:
    assert diagnostics(counted(0x1234)).answer(hexed("08 000B 0000")) == hexed("08 000B 1234")


def test_the_example_of_11_reads_264_events() -> None:
    assert diagnostics(counted(264)).event_counter(hexed("0B")) == hexed("0B 0000 0108")


def test_the_example_of_12_is_264_events_of_289_messages_and_what_was_logged() -> None:
    """The specification's log has three events, which 289 messages cannot leave: the head, then, and the log apart."""
    counters = counted(289)
    counters.exceptions = 25
    answer = diagnostics(counters).event_log(hexed("0C"))
    assert answer[:8] == hexed("0C 46 0000 0108 0121")
    assert answer[8:] == hexed("40 80") * 32

    counters.restart(clear_log=True)
    counters.requests = 1
    assert diagnostics(counters).event_log(hexed("0C")) == hexed("0C 09 0000 0001 0001 40 80 00")


def test_the_diagnostic_register_has_16_bits() -> None:
    assert diagnostics(Counters(), 0x12ABCD).answer(hexed("08 0002 0000")) == hexed("08 0002 ABCD")


# -- the counters ---------------------------------------------------------------------------------------------------


def test_exceptions_silence_and_fetches_are_no_completions() -> None:
    counters = counted(10)
    counters.refused(2)
    counters.refused(6)
    counters.unanswered()
    reader = diagnostics(counters)

    assert reader.event_counter(b"\x0b")[3:] == b"\0\x07"
    counters.requests += 1  # function 11 itself
    assert reader.event_counter(b"\x0b")[3:] == b"\0\x07"


def test_a_broadcast_that_was_executed_is_a_completion_without_an_answer() -> None:
    counters = counted(1)
    counters.unanswered(received=events.BROADCAST)

    assert (counters.completions, counters.silent) == (1, 1)
    assert counters.events.log(1) == hexed("C0 00")


def test_busy_and_negative_acknowledge_are_counted_apart() -> None:
    counters = counted(4)
    for code in (6, 6, 7, 2):
        counters.refused(code)
    read = diagnostics(counters).answer

    assert read(hexed("08 000D 0000")) == hexed("08 000D 0004")
    assert read(hexed("08 0010 0000")) == hexed("08 0010 0001")
    assert read(hexed("08 0011 0000")) == hexed("08 0011 0002")


def test_counters_come_back_modulo_65536() -> None:
    assert diagnostics(counted(0x12345)).answer(hexed("08 000E 0000")) == hexed("08 000E 2345")


def test_completions_are_never_less_than_0() -> None:
    counters = Counters()
    counters.refused(2, 1)  # of the segment that is being served

    assert counters.completions == 0


def test_0a_clears_counters_and_what_the_exception_status_remembers_and_keeps_the_log() -> None:
    counters = counted(3)
    counters.refused(2)
    counters.faults = counters.refused_connections = 1
    assert counters.has_refused_clients
    diagnostics(counters).answer(hexed("08 000A 0000"))

    assert (counters.requests, counters.exceptions, counters.faults) == (0, 0, 0)
    assert not counters.has_refused_clients
    assert counters.refused_connections == 1, "not a counter of communication"
    assert counters.events.log(0) == hexed("41 80 40 80 40 80 00")


@pytest.mark.parametrize(("data", "log"), [("0000", "00 41 80 40 80 00"), ("FF00", "00")])
def test_a_restart_clears_counters_and_on_demand_the_log(data: str, log: str) -> None:
    counters = counted(2)
    counters.refused(2)
    request = hexed(f"08 0001 {data}")

    assert diagnostics(counters).answer(request) == request
    assert (counters.requests, counters.exceptions) == (0, 0)
    assert counters.events.log(0) == hexed(log)


def test_14_clears_overruns_alone() -> None:
    counters = LineCounters()
    counters.requests, counters.overruns = 5, 7
    read = diagnostics(counters).answer
    assert read(hexed("08 0012 0000")) == hexed("08 0012 0007")

    assert read(hexed("08 0014 0000")) == hexed("08 0014 0000")
    assert read(hexed("08 0012 0000")) == hexed("08 0012 0000")
    assert read(hexed("08 000E 0000")) == hexed("08 000E 0005")


def test_the_snapshot_names_every_counter() -> None:
    snapshot = counted(5).snapshot()

    assert snapshot["requests"] == 5
    assert {"clients", "exceptions", "refused_connections", "silent"} <= snapshot.keys()
    assert all(isinstance(value, int) for value in snapshot.values())


# -- the event log --------------------------------------------------------------------------------------------------


def test_ordinary_messages_are_filled_in_between_what_was_not_ordinary() -> None:
    log = Events()
    log.refused(2, 3)
    log.unanswered(4)
    log.add(5, events.BROKEN)

    assert log.log(6) == hexed("40 80  82  40 80  80  40 80  41 80  40 80  00")


@pytest.mark.parametrize(
    ("code", "sent"),
    [(1, 0x41), (2, 0x41), (3, 0x41), (4, 0x42), (5, 0x44), (6, 0x44), (7, 0x48), (0x0A, 0x42), (0x0B, 0x42)],
)
def test_each_exception_code_has_its_bit(code: int, sent: int) -> None:
    log = Events()
    log.refused(1, code)

    assert log.log(1) == bytes((sent, 0x80, 0))


def test_an_answer_that_comes_later_stands_where_it_was_sent() -> None:
    log = Events()
    log.refused(5, 2)
    log.refused(5, 0x0B)  # message 3, behind a forward

    assert log.log(5)[:6] == hexed("42 80 41 80 40 80")


def test_what_a_segment_has_so_far_may_be_beyond_what_is_counted() -> None:
    log = Events()
    log.refused(3, 2)

    assert log.log(1) == hexed("41 80 40 80 00")


class Book:
    """The log as the specification has it: each event is stored when it happens."""

    def __init__(self) -> None:
        self.events = bytearray(b"\0")
        self.messages = 0

    def add(self, *oldest_first: int) -> None:
        self.events += bytes(oldest_first)

    def log(self) -> bytes:
        return bytes(reversed(self.events))[:MAX_EVENTS]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("ordinary"), st.integers(1, 40)),
        st.tuples(st.just("refused"), st.sampled_from([1, 2, 3, 4, 6, 0x0B])),
        st.tuples(st.just("unanswered"), st.just(0)),
        st.tuples(st.just("broken"), st.integers(1, 70)),
        st.tuples(st.just("clear"), st.just(0)),
        st.tuples(st.just("restart"), st.booleans()),
    ),
    max_size=40,
)


@given(steps)
def test_the_log_is_the_one_of_a_server_that_stores_each_event(taken: list[tuple[str, int]]) -> None:
    counters, book = Counters(), Book()
    for step, argument in taken:
        if step == "ordinary":
            counters.requests += argument
            for _ in range(argument):
                book.add(0x80, 0x40)
        elif step == "refused":
            counters.requests += 1
            counters.refused(argument)
            book.add(0x80, 0x41 if argument <= 3 else 0x44 if argument in (5, 6) else 0x42)
        elif step == "unanswered":
            counters.requests += 1
            counters.unanswered()
            book.add(0x80)
        elif step == "broken":
            counters.unread(argument)
            for _ in range(argument):
                book.add(0x82)
        elif step == "clear":
            counters.clear()
        else:
            counters.restart(clear_log=bool(argument))
            if argument:
                book.events.clear()
            book.add(0)
        assert counters.events.log(counters.requests).hex(" ") == book.log().hex(" ")


# -- a serial line --------------------------------------------------------------------------------------------------


class Line:
    """A port that does as it is told."""

    def __init__(self, *, is_ascii: bool = False) -> None:
        self.counters = LineCounters()
        self.is_listen_only = False
        self.delimiter = 0x0A
        self.is_ascii = is_ascii

    def restart(self, *, clear_log: bool) -> None:
        self.counters.restart(clear_log=clear_log)
        self.is_listen_only = False

    def change_delimiter(self, delimiter: int) -> bool | None:
        if not self.is_ascii:
            return None
        self.delimiter = delimiter
        return delimiter != 0x3A


def diagnostics_of(line: Line) -> Diagnostics:
    return Diagnostics(line.counters, lambda: 0, line)


def test_a_line_counts_for_itself() -> None:
    line = Line()
    line.counters.heard, line.counters.broken, line.counters.requests = 7, 2, 3
    unit = diagnostics_of(line)

    assert unit.answer(hexed("08 000B 0000")) == hexed("08 000B 0009")
    assert unit.answer(hexed("08 000C 0000")) == hexed("08 000C 0002")
    assert unit.event_counter(hexed("0B")) == hexed("0B 0000 0003")
    line.counters.requests += 1
    line.counters.heard += 1
    assert unit.event_log(hexed("0C")) == hexed("0C 0F 0000 0003 000A 40 80 40 80 40 80 40 80 00")


def test_a_line_that_only_listens_says_so_in_its_log_and_answers_no_restart() -> None:
    line = Line()
    unit = diagnostics_of(line)

    assert unit.answer(hexed("08 0004 0000")) is None
    assert line.is_listen_only
    assert line.counters.events.log(0) == hexed("04 00")
    assert unit.answer(hexed("08 0001 0000")) is None
    assert not line.is_listen_only
    assert line.counters.events.log(0) == hexed("00 04 00")
    assert unit.answer(hexed("08 0001 FF00")) == hexed("08 0001 FF00")


def test_only_an_ascii_line_has_a_delimiter() -> None:
    line = Line(is_ascii=True)
    unit = diagnostics_of(line)

    assert unit.answer(hexed("08 0003 0D00")) == hexed("08 0003 0D00")
    assert line.delimiter == 0x0D
    assert refusal(unit, "08 0003 3A00") == 3
    assert refusal(unit, "08 0003 0D01") == 3
    assert refusal(diagnostics_of(Line()), "08 0003 0D00") == 1


def refusal(unit: Diagnostics, request: str) -> int:
    with pytest.raises(Refused) as refused:
        unit.answer(hexed(request))
    return refused.value.code


@given(data=st.binary(max_size=252), is_line=st.booleans(), function=st.sampled_from([0x08, 0x0B, 0x0C]))
def test_any_bytes_are_answered_or_refused(data: bytes, is_line: bool, function: int) -> None:
    ours = Diagnostics(LineCounters(), lambda: 0xFF, Line(is_ascii=True) if is_line else None)
    answers = {0x08: ours.answer, 0x0B: ours.event_counter, 0x0C: ours.event_log}
    try:
        answer = answers[function](bytes((function,)) + data)
    except Refused as refused:
        answer = bytes((function | 0x80, refused.code))

    assert answer is None or len(answer) <= 253
