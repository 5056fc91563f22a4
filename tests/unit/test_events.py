"""What happened, for people: kept in rings that nothing can flood, told when somebody looks."""

from __future__ import annotations

import threading

from gateway.events import KINDS, MAX_THINGS, MINUTE_S, MOST_PER_MINUTE, Events, Told


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_events_are_numbered_from_1_and_told_after_a_number() -> None:
    events = Events()
    events.add("device", "press", "error", "good -> down: no answer within 1 s", **{"from": "good", "to": "down"})
    events.add("reload", "plant.yaml", "info", "configuration 2 is running")
    first, second = events.since(0)
    assert (first.number, first.kind, first.where, first.level) == (1, "device", "press", "error")
    assert first.details == {"from": "good", "to": "down"}
    assert second.time_ns >= first.time_ns > 1_700_000_000_000_000_000
    assert [event.number for event in events.since(1)] == [2]
    assert events.since(2) == []
    assert (events.last, events.lost_before) == (2, 1)


def test_a_flood_of_writes_pushes_out_writes_and_nothing_else() -> None:
    events = Events(read=lambda note: (1, ("client", "info", f"write {note}", {})))
    events.add("device", "press", "error", "good -> down")
    for number in range(KINDS["write"] + 50):
        events.note(number)
        if number % 100 == 0:
            events.tick()
    kept = events.since(0)
    assert [event.kind for event in kept].count("write") == KINDS["write"]
    assert kept[0].text == "good -> down"
    assert kept[1].text == "write 50"
    assert events.lost_before == 52  # the 50 that are gone have numbers 2 to 51
    assert [event.number for event in kept] == sorted(event.number for event in kept)


def test_text_is_made_once_and_only_when_somebody_looks() -> None:
    told: list[int] = []

    def read(note: int) -> tuple[int, Told]:
        told.append(note)
        return note, ("client", "info", "a write", {})

    events = Events(read=read)
    events.note(7)
    assert events.last == 1
    assert told == []
    assert events.since(0) == events.since(0)
    assert told == [7]
    assert events.since(0)[0].time_ns == 7


def test_a_write_has_its_number_before_what_happens_after_it() -> None:
    events = Events(read=lambda note: (note, ("client", "info", "a write", {})))
    events.note(1)
    events.add("device", "press", "error", "good -> down")
    events.note(2)
    assert [event.kind for event in events.since(0)] == ["write", "device", "write"]
    assert [event.number for event in events.since(1)] == [2, 3]


def test_of_more_writes_than_there_is_room_for_between_two_looks_the_newest_are_kept() -> None:
    events = Events(read=lambda note: (note, ("client", "info", f"{note}", {})))
    for number in range(3 * KINDS["write"]):
        events.note(number)
    kept = events.since(0)
    assert [kept[0].text, kept[-1].text] == [str(2 * KINDS["write"]), str(3 * KINDS["write"] - 1)]


def test_a_device_that_flaps_is_kept_so_often_a_minute_and_its_last_state_is_told_when_that_is_over() -> None:
    clock = Clock()
    events = Events(clock)
    for number in range(MOST_PER_MINUTE + 9):
        events.add("device", "press", "info", f"change {number}")
    events.add("device", "mixer", "error", "good -> down")
    assert len(events.since(0)) == MOST_PER_MINUTE + 1
    assert events.untold == 9
    events.tick()
    assert len(events.since(0)) == MOST_PER_MINUTE + 1

    clock.now_s = MINUTE_S
    events.tick()
    last = events.since(0)[-1]
    assert last.text == f"change {MOST_PER_MINUTE + 8} (8 more of it before were not kept)"
    assert last.details == {"not_kept": 8}
    events.tick()
    assert events.since(0)[-1] == last


def test_what_was_held_back_is_told_before_the_next_of_the_same() -> None:
    clock = Clock()
    events = Events(clock)
    for number in range(MOST_PER_MINUTE + 1):
        events.add("link", "tcp://plc", "warning", f"change {number}")
    clock.now_s = MINUTE_S
    events.add("link", "tcp://plc", "info", "answers again")
    assert [event.text for event in events.since(0)][-2:] == [f"change {MOST_PER_MINUTE}", "answers again"]


def test_things_that_come_once_and_never_again_are_forgotten() -> None:
    clock = Clock()
    events = Events(clock)
    for number in range(2 * MAX_THINGS):
        events.add("client", f"10.0.0.1:{number}", "info", "connected")
    assert len(events._things) <= MAX_THINGS
    assert events.last == 2 * MAX_THINGS


def test_threads_may_tell_at_the_same_time() -> None:
    events = Events()

    def tell() -> None:
        for number in range(500):
            events.add("gateway", f"{threading.get_ident()} {number}", "warning", "from a thread")

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = [event.number for event in events.since(0)]
    assert events.last == 2000
    assert numbers == sorted(set(numbers))
