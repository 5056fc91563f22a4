"""Who is sent next on a link."""

from __future__ import annotations

from gateway.interfaces import Priority, Request
from gateway.southbound.queues import DUTY, MAX_ASIDE, MAX_ASKED, MAX_POLLS, MAX_WRITES, Queues


def put(queues: Queues, priority: Priority, count: int, unit: int = 1) -> None:
    for _ in range(count):
        assert queues.put(Request(unit, b"\x03\0\0\0\1", 1.0, 0, lambda answer, error: None, priority=priority))


def order(queues: Queues) -> str:
    letters = {Priority.WRITE: "W", Priority.ASK: "A", Priority.POLL: "p"}
    return "".join(letters[queues.pop().priority] for _ in range(queues.size))


def test_writes_go_ahead_of_everything_that_waited_before_them() -> None:
    queues = Queues()
    put(queues, Priority.POLL, 3)
    put(queues, Priority.ASK, 1)
    put(queues, Priority.WRITE, 2)
    assert order(queues) == "WWpApp"


def test_a_flood_of_writes_leaves_polls_and_reads_their_turn() -> None:
    queues = Queues()
    put(queues, Priority.WRITE, 3 * DUTY)
    put(queues, Priority.POLL, 1)
    put(queues, Priority.ASK, 1)
    assert order(queues) == "W" * DUTY + "p" + "W" * DUTY + "A" + "W" * DUTY


def test_clients_reads_and_polls_alternate() -> None:
    queues = Queues()
    put(queues, Priority.ASK, 4)
    put(queues, Priority.POLL, 3)
    assert order(queues) == "pApApAA"


def test_each_kind_has_its_limit() -> None:
    queues = Queues()
    put(queues, Priority.POLL, MAX_POLLS)
    request = Request(1, b"\x03\0\0\0\1", 1.0, 0, lambda answer, error: None)
    assert not queues.put(request)
    put(queues, Priority.ASK, MAX_ASKED)
    put(queues, Priority.WRITE, MAX_WRITES)
    for priority in (Priority.ASK, Priority.WRITE):
        request.priority = priority
        assert not queues.put(request)


def test_all_of_one_unit_are_taken_out_in_order() -> None:
    queues = Queues()
    put(queues, Priority.POLL, 1, unit=7)
    put(queues, Priority.POLL, 1, unit=8)
    put(queues, Priority.WRITE, 1, unit=7)
    assert [request.priority for request in queues.take(7)] == [Priority.WRITE, Priority.POLL]
    assert [request.unit_id for request in queues] == [8]


def test_what_is_for_a_unit_that_is_set_aside_waits_and_nobody_waits_behind_it() -> None:
    queues = Queues()
    put(queues, Priority.POLL, 2, unit=1)
    put(queues, Priority.POLL, 1, unit=2)
    queues.set_aside(1)
    put(queues, Priority.WRITE, 1, unit=1)
    assert queues.size == 1
    assert len(list(queues)) == 4
    assert order(queues) == "p"
    assert queues.bring_back(1) == []
    assert order(queues) == "Wpp"
    put(queues, Priority.POLL, 1, unit=1)
    assert queues.size == 1


def test_what_waits_beside_the_queues_can_be_taken_and_stays_aside() -> None:
    queues = Queues()
    queues.set_aside(1)
    put(queues, Priority.POLL, 2, unit=1)
    assert len(queues.take(1)) == 2
    assert queues.is_aside(1)
    put(queues, Priority.POLL, 2, unit=1)
    put(queues, Priority.ASK, 2, unit=2)
    assert len(queues.empty()) == 4
    assert (queues.size, list(queues), queues.is_aside(1)) == (0, [], True)
    queues.put_first(Request(1, b"\x03\0\0\0\1", 1.0, 0, lambda answer, error: None))
    assert queues.size == 1, "the link's own question goes all the same"


def test_a_unit_that_is_set_aside_has_as_much_room_as_the_link() -> None:
    queues = Queues()
    queues.set_aside(1)
    put(queues, Priority.POLL, MAX_ASIDE)
    assert not queues.put(Request(1, b"\x03\0\0\0\1", 1.0, 0, lambda answer, error: None))
    assert queues.bring_back(1) == []
    assert queues.size == MAX_ASIDE
