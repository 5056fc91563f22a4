"""What viewers are told: differences, bounded and in turn. Points are real, the rest of the gateway is a table."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.hub import Hub, Point, Subscription
from gateway.values import Quality
from gateway.web import feed as feed_file
from gateway.web import slices as slices_file
from gateway.web import tags as tags_file
from gateway.web import viewers as viewers_file
from gateway.web.feed import Feed, _Making
from gateway.web.known import Known
from gateway.web.slices import COPIED, PARTS, Slices, Text
from gateway.web.snapshots import Snapshots
from gateway.web.tags import Tags
from gateway.web.viewers import Viewer

EVERYTHING = frozenset(viewers_file.TOPICS)


class Block:
    """Of points: when it was read, how well."""

    def __init__(self) -> None:
        self.good_time_ns = 1_000_000_000
        self.quality = Quality.GOOD
        self.cause = ""

    def trouble(self) -> tuple[Quality, str]:
        return self.quality, self.cause


class Plant:
    """A plant that does what a test says; `web.seams.Views` as far as it is asked here."""

    def __init__(self, tags: int = 3, devices: int = 2) -> None:
        self.hub = Hub()
        self.block = Block()
        self.list = [self.hub.point("press", f"t{number}", self.block) for number in range(tags)]
        self.state_of = dict.fromkeys((f"d{number}" for number in range(devices)), "good")
        self.polls = 0
        self.asked: Counter[str] = Counter()
        self.happened: list[dict[str, Any]] = []

    @property
    def generation(self) -> int:
        return self.hub.generation

    @property
    def last_event(self) -> int:
        return len(self.happened)

    def subscribe(self) -> Subscription:
        return self.hub.subscribe()

    def points(self) -> list[Point]:
        self.asked["points"] += 1
        return [point for points in self.hub.points.values() for point in points.values()]

    def set(self, number: int, value: object) -> None:
        self.list[number].value = value  # type: ignore[assignment]
        self.list[number].touch()

    boot = "b00t"

    def tags(self) -> Iterator[dict[str, Any]]:
        return ({"i": point.index, "name": point.tag} for point in self.points())

    def gateway(self) -> dict[str, Any]:
        return {"version": "1"}

    def status(self) -> dict[str, Any]:
        return {
            "gateway": self.gateway(),
            "links": iter(()),
            "devices": (self.row("devices", name) for name in self.state_of),
        }

    def states(self) -> Iterator[tuple[str, str, object]]:
        return (("devices", name, state) for name, state in list(self.state_of.items()))

    def row(self, kind: str, name: str) -> dict[str, Any] | None:
        self.asked[name] += 1
        return {"name": name, "state": self.state_of[name], "polls": self.polls} if name in self.state_of else None

    def look_for_trouble(self, links: Any, devices: Any, gateway: Any) -> Iterator[dict[str, Any]]:
        return ({"text": f"{row['name']} is down"} for row in devices if row["state"] == "down")

    def events(self, after: int = 0) -> dict[str, Any]:
        return {"events": iter(self.happened[after:])}

    def clients(self) -> Iterator[dict[str, Any]]:
        return ({"peer": str(number)} for number in range(500))

    def client_counters(self) -> dict[str, Any]:
        return {}


class Told:
    """What one making says, tick by tick."""

    def __init__(self, plant: Plant) -> None:
        self.known = Known()
        self.making = _Making(plant, self.known)  # type: ignore[arg-type]

    def tick(self, wanted: frozenset[str] = EVERYTHING) -> dict[str, Any]:
        async def made() -> dict[str, Any]:
            return {topic: json.loads(data) async for topic, data in self.making.tick(wanted)}

        return asyncio.run(made())


# -- tags --------------------------------------------------------------------------------------------------------------


def test_only_what_has_changed_is_told() -> None:
    plant = Plant()
    told = Told(plant)
    first = told.tick()["tags"]
    assert (first["generation"], first["times"], first["changed"]) == (3, [], [])
    plant.set(1, 2.5)
    assert told.tick()["tags"]["changed"] == [[1, 2.5, "good", 1000, "", 0]]
    told.tick()
    plant.set(1, 2.5)
    assert "tags" not in told.tick()


def test_values_are_json_whatever_they_are() -> None:
    told_as: list[tuple[Any, Any]] = [
        (True, True),
        (-5, -5),
        (1.5, 1.5),
        (float("nan"), None),
        (float("inf"), None),
        ('quoted "text"\n', 'quoted "text"\n'),
        (None, None),
        (2**53 - 1, 2**53 - 1),
        (2**53 + 1, "9007199254740993"),  # a browser would read 9007199254740992
        (1 - 2**53, 1 - 2**53),
        (-(2**63), "-9223372036854775808"),
        (2**64 - 1, "18446744073709551615"),
    ]
    plant = Plant(len(told_as))
    told = Told(plant)
    told.tick()
    for number, (value, _) in enumerate(told_as):
        plant.set(number, value)
    changed = {row[0]: row[1] for row in told.tick()["tags"]["changed"]}
    assert [changed[number] for number in range(len(told_as))] == [shown for _, shown in told_as]


def test_more_changes_than_a_set_has_room_for_come_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tags_file, "TAGS_PER_SET", 10)
    plant = Plant(35)
    told = Told(plant)
    told.tick()
    seen: list[int] = []
    for number in range(35):
        plant.set(number, 1)
    for _ in range(3):
        rows = told.tick()["tags"]["changed"]
        assert len(rows) == 10
        seen += [row[0] for row in rows]
        for row in rows[:5]:
            plant.set(row[0], 2 + len(seen))  # those that change all the time do not come before the others again
    assert len(set(seen)) == 30
    last = {row[0] for row in told.tick()["tags"]["changed"]}
    assert set(range(35)) <= last | set(seen)


def test_what_grows_old_unnoticed_is_found() -> None:
    plant = Plant(30)
    told = Told(plant)
    for _ in range(12):
        told.tick()
    plant.block.quality, plant.block.cause = Quality.BAD, "no answer"
    rows: list[Any] = []
    for _ in range(22):
        rows += told.tick().get("tags", {"changed": []})["changed"]
    assert sorted(row[0] for row in rows) == list(range(30))
    assert {(row[2], row[4]) for row in rows} == {("bad", "no answer")}


def test_what_is_read_again_and_is_the_same_is_told_once_for_its_block() -> None:
    """So the age of ten thousand tags is right within a set, and costs what their blocks cost."""
    plant = Plant(10)
    told = Told(plant)
    for _ in range(12):
        told.tick()
    plant.block.good_time_ns += 1_000_000_000
    (tags,) = [data["tags"] for _ in range(3) if "tags" in (data := told.tick())]
    assert (tags["times"], tags["changed"]) == ([[0, 2000]], [])
    other = Block()
    other.good_time_ns = 7_000_000_000
    plant.list[3].source = other  # it has moved to another block: its row says so
    rows = [row for _ in range(12) for row in told.tick().get("tags", {"changed": []})["changed"]]
    assert rows == [[3, None, "good", 7000, "", 1]]


def test_many_blocks_are_told_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tags_file, "BLOCKS_PER_SET", 4)
    plant = Plant(10)
    for point in plant.list:
        point.source = Block()
    told = Told(plant)
    for point in plant.list:
        told.known.blocks.number(point.source)
    seen: set[int] = set()
    for tick in range(3):
        for point in plant.list:
            point.source.good_time_ns += 1_000_000_000  # type: ignore[attr-defined]
        times = told.tick()["tags"]["times"]
        assert len(times) == (4, 4, 2)[tick]
        seen |= {row[0] for row in times}
    assert seen == set(range(10))


def test_blocks_that_are_gone_are_forgotten_and_their_numbers_are_nobodys() -> None:
    plant = Plant(2)
    told = Told(plant)
    plant.set(0, 1)
    told.tick()
    before, plant.block = plant.block, Block()
    for point in plant.list:
        plant.hub.point("press", point.tag, plant.block)
    told.tick()
    assert before not in dict(told.known.blocks.all())
    assert told.known.blocks.number(plant.block) > 0


def test_other_tags_are_another_generation() -> None:
    plant = Plant()
    told = Told(plant)
    told.tick()
    plant.set(1, 5)
    plant.hub.remove("press", "t1", plant.list[1])
    tags = told.tick()["tags"]
    assert (tags["generation"], tags["changed"]) == (4, [])


# -- links and devices -------------------------------------------------------------------------------------------------


def test_a_state_is_told_at_once_and_counters_once_a_second() -> None:
    plant = Plant(devices=10)
    told = Told(plant)
    for _ in range(6):
        told.tick()
    plant.polls = 1
    plant.state_of["d7"] = "down"
    first = told.tick()["state"]
    assert first["devices"][0] == {"name": "d7", "state": "down", "polls": 1}
    assert first["findings"] == [{"text": "d7 is down"}]
    names = {row["name"] for row in first["devices"]}
    for _ in range(4):
        names |= {row["name"] for row in told.tick().get("state", {"devices": []})["devices"]}
    assert names == set(plant.state_of)


def test_a_large_plant_is_told_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_file, "ROWS_PER_SET", 10)
    plant = Plant(devices=100)
    told = Told(plant)
    seen: Counter[str] = Counter()
    for _ in range(40):
        plant.polls += 1
        rows = told.tick()["state"]["devices"]
        assert len(rows) <= 10
        seen.update(row["name"] for row in rows)
    assert len(seen) == 100
    assert min(seen.values()) >= 3  # fairly


def test_what_is_gone_is_told() -> None:
    plant = Plant()
    told = Told(plant)
    told.tick()
    del plant.state_of["d0"]
    assert told.tick()["state"]["gone"] == {"links": [], "devices": ["d0"]}


def test_events_and_clients_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_file, "EVENTS_PER_SET", 4)
    plant = Plant()
    plant.happened = [{"number": 1}]
    told = Told(plant)
    first = told.tick()
    assert "events" not in first  # it was before
    assert (len(first["clients"]["clients"]), first["clients"]["total"]) == (300, 500)
    plant.happened += [{"number": number} for number in range(2, 8)]
    numbers = [[event["number"] for event in told.tick().get("events", {"events": []})["events"]] for _ in range(3)]
    assert numbers == [[2, 3, 4, 5], [6, 7], []]


# -- viewers -----------------------------------------------------------------------------------------------------------


def viewer(topics: frozenset[str] = EVERYTHING, address: str = "") -> Viewer:
    return Viewer(topics, None, lambda: False, address)


def test_nothing_is_made_when_nobody_watches() -> None:
    async def test() -> None:
        plant = Plant()
        feed = Feed(plant, lambda: None)  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert not plant.asked
        first = viewer()
        assert not feed.join(first)
        assert b"event: state" in await first.take(lambda: None)
        feed.leave(first)
        while feed._task is not None:
            await asyncio.sleep(0.01)
        asked = plant.asked.total()
        await asyncio.sleep(3 * feed_file.TICK_S)
        assert plant.asked.total() == asked
        plant.set(0, 1)
        assert not plant.hub._subscriptions

    asyncio.run(test())


def test_viewers_share_what_was_made_once() -> None:
    async def test() -> None:
        plant = Plant()
        feed = Feed(plant, lambda: None)  # type: ignore[arg-type]
        viewers = [viewer(frozenset({"tags"}), f"10.0.0.{number}") for number in range(viewers_file.MAX_VIEWERS)]
        assert not any(feed.join(each) for each in viewers)
        assert feed.join(viewer()) == "64 pages are open already: close one of them"
        sets = [await each.take(lambda: None) for each in viewers]
        assert len({id(data) for data in sets}) == 1
        await feed.close()
        assert {await each.take(lambda: None) for each in viewers} == {b""}

    asyncio.run(test())


def test_no_address_takes_every_place() -> None:
    async def test() -> None:
        feed = Feed(Plant(), lambda: None)  # type: ignore[arg-type]
        theirs = [viewer(EVERYTHING, "10.0.0.1") for _ in range(viewers_file.MAX_OF_ADDRESS)]
        assert not any(feed.join(each) for each in theirs)
        assert feed.join(viewer(EVERYTHING, "10.0.0.1")).startswith("16 pages of 10.0.0.1 are open already")
        assert (feed.refused, feed.crowded) == (1, 1)
        assert not feed.join(viewer(EVERYTHING, "10.0.0.2"))
        feed.leave(theirs[0])
        assert not feed.join(viewer(EVERYTHING, "10.0.0.1"))
        for _ in range(viewers_file.MAX_OF_LOOPBACK - viewers_file.MAX_OF_ADDRESS):
            assert not feed.join(viewer(EVERYTHING, "127.0.0.1")), "a reverse proxy may bring more"
        await feed.close()

    asyncio.run(test())


def test_who_does_not_take_loses_all_that_waits_and_is_told_so() -> None:
    slow, told = viewer(), []
    for _ in range(viewers_file.MAX_SETS + 5):
        slow.put(b"x" * 100)

    async def test() -> None:
        assert await slow.take(lambda: told.append(1)) == viewers_file.RESYNC
        slow.put(b"new")
        assert await slow.take(lambda: told.append(2)) == b"new"

    asyncio.run(test())
    assert (told, slow.resyncs) == ([1], 1)


def test_what_waits_is_bounded_in_bytes() -> None:
    slow = viewer()
    for _ in range(5):
        slow.put(b"x" * (viewers_file.MAX_BYTES // 2 - 1))
    assert slow._size == 0
    assert slow.has_some


def test_silence_is_a_ping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewers_file, "PING_S", 0.01)
    assert asyncio.run(viewer().take(lambda: None)) == viewers_file.PING


def test_a_session_that_is_over_ends_its_streams() -> None:
    async def test() -> None:
        feed = Feed(Plant(), lambda: None)  # type: ignore[arg-type]
        over: list[int] = []
        mine = Viewer(EVERYTHING, "mine", lambda: bool(over))
        other = Viewer(EVERYTHING, "other", lambda: False)
        feed.join(mine)
        feed.join(other)
        await mine.take(lambda: None)
        over.append(1)
        while await mine.take(lambda: None):
            pass
        feed.end_session("other")
        assert other.is_over
        await feed.close()

    asyncio.run(test())


# -- what the stream and snapshots say together ------------------------------------------------------------------------


def snapshots_of(told: Told, plant: Plant) -> Snapshots:
    found = Snapshots(plant, told.known)  # type: ignore[arg-type]
    found.joined()
    return found


def changed_in(told: Told, ticks: int) -> list[Any]:
    return [row for _ in range(ticks) for row in told.tick().get("tags", {"changed": []})["changed"]]


def test_what_a_snapshot_gave_otherwise_than_it_was_told_is_told_again() -> None:
    """0, 1, 0 between two sets: for the stream nothing happened, but whoever loaded meanwhile has the 1."""
    plant = Plant(3)
    told = Told(plant)
    plant.set(1, 0)
    told.tick()
    told.tick()
    plant.set(1, 1)
    given = json.loads(asyncio.run(snapshots_of(told, plant).tags()))
    assert given["values"][1][1] == 1
    plant.set(1, 0)
    assert changed_in(told, 1) == [[1, 0, "good", 1000, "", 0]]
    assert changed_in(told, 25) == [], "once is enough"


def test_so_does_what_changes_without_a_word() -> None:
    """A value that was old while a snapshot was made, and is read again."""
    plant = Plant(3)
    told = Told(plant)
    for _ in range(12):
        told.tick()
    plant.block.quality, plant.block.cause = Quality.BAD, "no answer"
    asyncio.run(snapshots_of(told, plant).tags())
    plant.block.quality, plant.block.cause = Quality.GOOD, ""
    assert [row[:3] for row in changed_in(told, 1)] == [[number, None, "good"] for number in range(3)]


def test_two_snapshots_that_differ_are_both_mended() -> None:
    plant = Plant(1)
    told = Told(plant)
    plant.set(0, 0)
    told.tick()
    for value in (1, 0):  # the second agrees with what was told: the first is still wrong
        plant.set(0, value)
        asyncio.run(snapshots_of(told, plant).tags())
    assert [row[1] for row in changed_in(told, 2)] == [0]


def test_a_snapshot_that_agrees_with_what_was_told_costs_no_row() -> None:
    plant = Plant(100)
    told = Told(plant)
    for number in range(100):
        plant.set(number, number)
    told.tick()
    for _ in range(5):
        asyncio.run(snapshots_of(told, plant).tags())
    assert changed_in(told, 20) == []


class Page:
    """As the page does: a snapshot, and what the stream brings from the moment it asks for it on top."""

    def __init__(self, making: _Making, snapshots: Snapshots) -> None:
        self.sets: list[dict[str, Any]] = []
        self.making = making
        self.snapshots = snapshots
        self.snapshot: dict[str, Any] = {}
        snapshots.joined()

    async def load(self) -> None:
        self.snapshot = json.loads(await self.snapshots.tags())

    def shown(self) -> list[Any]:
        rows = {row[0]: row[1] for row in self.snapshot["values"]}
        for each in self.sets:
            rows.update(
                {row[0]: row[1] for row in each["changed"] if each["generation"] == self.snapshot["generation"]}
            )
        return [rows[index] for index in sorted(rows)]


@pytest.mark.parametrize("seed", range(8))
def test_pages_that_load_at_any_moment_end_with_what_is(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets and snapshots are made in slices of one item each, the plant changes between them, pages come."""
    monkeypatch.setattr(slices_file, "SLICE_S", 0.0)
    monkeypatch.setattr(tags_file, "TAGS_PER_SET", 7)
    chance = random.Random(seed)
    plant = Plant(60)

    async def test() -> None:
        making = _Making(plant, known := Known())  # type: ignore[arg-type]
        snapshots = Snapshots(plant, known)  # type: ignore[arg-type]
        pages: list[Page] = []
        loads: list[asyncio.Task[None]] = []

        async def ticks(count: int) -> None:
            for _ in range(count):
                made = [json.loads(data) async for topic, data in making.tick(frozenset({"tags"}))]
                for page in pages:
                    page.sets += made
                if made:
                    known.was_put("tags")
                for _ in range(chance.randrange(40)):
                    await asyncio.sleep(0)

        pulses: dict[int, list[tuple[int, int]]] = {}
        for number in range(60):  # each has one: what is wrong after it stays wrong
            begin = chance.randrange(100, 900)
            pulses.setdefault(begin, []).append((number, 1))
            pulses.setdefault(begin + chance.randrange(1, 40), []).append((number, 0))
            plant.set(number, 0)
        turn = 0
        feeding = asyncio.create_task(ticks(60))
        while not feeding.done():
            turn += 1
            for number, value in pulses.pop(turn, ()):
                plant.set(number, value)
            if len(pages) < 20 and chance.random() < 0.05:
                pages.append(Page(making, snapshots))
                loads.append(asyncio.create_task(pages[-1].load()))
            await asyncio.sleep(0)
        await asyncio.gather(*loads)
        await ticks(20)
        assert len(pages) > 5
        assert [page.shown() for page in pages] == [[point.value for point in plant.list]] * len(pages)
        making.close()

    asyncio.run(test())


def test_clients_rows_and_findings_that_only_a_snapshot_saw_do_not_stay() -> None:
    plant = Plant(1, devices=2)
    clients: list[dict[str, Any]] = []
    plant.clients = lambda: iter(list(clients))  # type: ignore[method-assign]
    told = Told(plant)
    for _ in range(12):
        told.tick()
    clients.append({"peer": "10.0.0.9:4711"})
    plant.state_of["d1"] = "down"
    plant.state_of["d2"] = "good"
    snapshots = snapshots_of(told, plant)
    assert json.loads(asyncio.run(snapshots.clients()))["clients"] == clients
    state = json.loads(asyncio.run(snapshots.state()))
    assert ([row["name"] for row in state["devices"]], len(state["findings"])) == (["d0", "d1", "d2"], 1)
    clients.clear()
    plant.state_of["d1"] = "good"
    del plant.state_of["d2"]
    later = [told.tick() for _ in range(6)]
    assert [each["clients"]["clients"] for each in later if "clients" in each] == [[]]
    states = [each["state"] for each in later if "state" in each]
    assert [each["findings"] for each in states if "findings" in each] == [[]]
    assert {row["name"]: row["state"] for each in states for row in each["devices"]} == {"d0": "good", "d1": "good"}
    assert [name for each in states for name in each["gone"]["devices"]] == ["d2"]
    assert not [each for each in (told.tick() for _ in range(12)) if each], "once is enough"


def test_who_watches_already_gets_no_snapshot_of_before_a_set_that_he_heard() -> None:
    """He looks at another view: what was told meanwhile he has merged into what he throws away now."""

    async def test() -> None:
        plant = Plant()
        feed = Feed(plant, lambda: None, known=(known := Known()))  # type: ignore[arg-type]
        snapshots = Snapshots(plant, known)  # type: ignore[arg-type]
        watching = viewer()
        feed.join(watching)
        await watching.take(lambda: None)
        await snapshots.tags()
        plant.set(0, 1)
        while b'"changed":[[0,1,' not in await watching.take(lambda: None):
            pass
        assert json.loads(await snapshots.tags())["values"][0][1] == 1
        await feed.close()

    asyncio.run(test())


def test_a_feed_that_is_closed_before_it_began_hears_no_more() -> None:
    async def test() -> None:
        plant = Plant()
        feed = Feed(plant, lambda: None)  # type: ignore[arg-type]
        feed.join(viewer())
        await feed.close()
        assert not plant.hub._subscriptions

    asyncio.run(test())


def test_no_age_is_younger_than_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block's time waits for the last of its tags that changed."""
    monkeypatch.setattr(tags_file, "TAGS_PER_SET", 10)
    plant = Plant(30)
    told = Told(plant)
    shown: dict[int, int] = {}
    age_of: dict[int, int | None] = {}

    def tick() -> dict[str, Any]:
        tags: dict[str, Any] = told.tick().get("tags", {"times": [], "changed": []})
        age_of.update(dict(tags["times"]))
        for index, value, _, time_ms, _, block in tags["changed"]:
            shown[index], age_of[block] = value, time_ms
        return tags

    for number in range(30):
        plant.set(number, 1)
    for _ in range(5):
        tick()
    assert (age_of, set(shown.values())) == ({0: 1000}, {1})
    for number in range(30):
        plant.set(number, 2)
    plant.block.good_time_ns = 11_000_000_000
    for count in (10, 20):
        tick()
        assert (sorted(shown.values()).count(2), age_of) == (count, {0: 1000})
    tick()
    assert (set(shown.values()), age_of) == ({2}, {0: 11000})


def test_a_block_that_never_has_all_of_its_tags_told_still_gets_older_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """All tags change all the time, and a set has room for half of them: its age is a few sets', not for ever more."""
    monkeypatch.setattr(tags_file, "TAGS_PER_SET", 10)
    plant = Plant(20)
    told = Told(plant)
    for count in range(1, 30):
        for number in range(20):
            plant.set(number, count)
        plant.block.good_time_ns = count * 1_000_000_000
        last = told.tick()["tags"]
    assert len(last["changed"]) == 10
    assert {row[3] for row in last["changed"]} == {28000}
    assert all(row[1] >= 28 for row in last["changed"])


def test_tags_of_a_snapshot_are_not_younger_than_its_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices_file, "SLICE_S", 0.0)
    plant = Plant(20)

    async def test() -> None:
        snapshots = Snapshots(plant, Known())  # type: ignore[arg-type]
        making = asyncio.create_task(snapshots.tags())
        while not making.done():
            plant.block.good_time_ns += 1_000_000_000
            await asyncio.sleep(0)
        assert len({row[3] for row in json.loads(making.result())["values"]}) == 1

    asyncio.run(test())


def test_a_reload_while_a_set_is_made_is_not_told_under_the_old_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tag that came has the index of one that went."""
    plant = Plant(3)
    told = Told(plant)
    for number in range(3):
        plant.set(number, float(number))
    told.tick()
    before = plant.generation
    look_through = Tags._look_through

    async def reload(self: Tags, slices: Slices) -> None:
        await look_through(self, slices)
        if plant.generation == before:
            plant.hub.remove("press", "t1", plant.list[1])
            new = plant.hub.point("other", "level", Block())
            new.value = 777.0
            self._known.changed[new] = 0  # as it would be if it had come a moment earlier

    monkeypatch.setattr(Tags, "_look_through", reload)
    plant.set(0, 5.0)
    plant.set(1, 6.0)
    assert "tags" not in told.tick(), "it is thrown away"
    tags = told.tick()["tags"]
    assert tags["generation"] == plant.generation > before
    assert {row[0]: row[1] for row in tags["changed"]} == {0: 5.0, 1: 777.0}


# -- snapshots ---------------------------------------------------------------------------------------------------------


def test_a_snapshot_is_shared_but_not_with_who_came_after_it_was_begun() -> None:
    async def test() -> None:
        plant = Plant()
        snapshots = Snapshots(plant, Known())  # type: ignore[arg-type]
        first = await snapshots.tags()
        plant.set(0, 1)
        assert await snapshots.tags() is first  # half a second
        snapshots.joined()
        second = await snapshots.tags()
        assert json.loads(second)["values"][0][1] == 1
        assert json.loads(first)["values"][0][1] is None
        assert json.loads(second)["tags"] == [{"i": number, "name": f"t{number}"} for number in range(3)]

    asyncio.run(test())


def test_a_snapshot_is_not_shared_beyond_a_reload() -> None:
    """Who is told that there are other tags loads at once: those of half a second ago have other indexes."""

    async def test() -> None:
        plant = Plant()
        snapshots = Snapshots(plant, Known())  # type: ignore[arg-type]
        await snapshots.tags()
        plant.hub.remove("press", "t0", plant.list[0])
        plant.hub.point("press", "new", plant.block)
        found = json.loads(await snapshots.tags())
        assert found["generation"] == plant.generation
        assert [tag["name"] for tag in found["tags"]] == ["t1", "t2", "new"]

    asyncio.run(test())


def test_many_who_come_together_wait_for_one() -> None:
    async def test() -> None:
        plant = Plant(2000)
        snapshots = Snapshots(plant, Known())  # type: ignore[arg-type]
        asked = plant.asked["points"]
        found = await asyncio.gather(*(snapshots.tags() for _ in range(50)))
        assert len({id(data) for data in found}) == 1
        assert plant.asked["points"] - asked == 2  # names once, values once

    asyncio.run(test())


def test_a_state_has_all_rows_and_what_is_wrong() -> None:
    plant = Plant()
    plant.state_of["d1"] = "down"
    state = json.loads(asyncio.run(Snapshots(plant, Known()).state()))  # type: ignore[arg-type]
    assert [row["name"] for row in state["devices"]] == ["d0", "d1"]
    assert state["findings"] == [{"text": "d1 is down"}]


def test_a_long_text_is_put_together_as_its_parts_come() -> None:
    async def test() -> bytearray:
        text = Text()
        for number in range(2 * PARTS + 1):
            text.add(f"{number};")
        await text.copy(b"x" * (COPIED + 1), Slices())
        text.add("é")
        return text.done()

    numbers = "".join(f"{number};" for number in range(2 * PARTS + 1))
    assert asyncio.run(test()).decode() == f"{numbers}{'x' * (COPIED + 1)}é"


def test_a_plant_without_tags_has_a_snapshot() -> None:
    plant = Plant(tags=0)
    found = json.loads(asyncio.run(Snapshots(plant, Known()).tags()))  # type: ignore[arg-type]
    assert found["values"] == []
