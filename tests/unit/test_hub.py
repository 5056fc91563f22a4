"""The latest value of every tag: indexes, generations and who hears of changes."""

from __future__ import annotations

from gateway.hub import Hub
from gateway.values import Quality


class Source:
    good_time_ns = 5

    def __init__(self) -> None:
        self.told = (Quality.GOOD, "")

    def trouble(self) -> tuple[Quality, str]:
        return self.told


def test_a_point_keeps_its_index_when_another_replaces_it_and_hands_it_on_when_it_goes() -> None:
    hub = Hub()
    a, b = hub.point("press", "a", Source()), hub.point("press", "b", Source())
    assert (a.index, b.index, hub.generation) == (0, 1, 2)
    again = hub.point("press", "a", Source())
    assert (again.index, hub.generation) == (0, 3)
    hub.remove("press", "a", a)  # replaced already
    assert hub.points["press"]["a"] is again
    hub.remove("press", "a", again)
    assert (hub.generation, list(hub.points["press"])) == (4, ["b"])
    assert hub.point("mixer", "c", Source()).index == 0


def test_a_subscription_has_each_changed_point_once_and_nothing_before_it_began() -> None:
    hub = Hub()
    a, b = hub.point("press", "a", Source()), hub.point("press", "b", Source())
    a.touch()
    subscription, other = hub.subscribe(), hub.subscribe()
    assert subscription.take() == set()
    a.touch()
    a.touch()
    b.touch()
    assert subscription.take() == {a, b}
    assert subscription.take() == set()
    assert other.take() == {a, b}
    a.touch()
    assert subscription.take() == {a}


def test_a_point_that_goes_is_in_no_subscription_any_more() -> None:
    hub = Hub()
    a = hub.point("press", "a", Source())
    subscription = hub.subscribe()
    a.touch()
    hub.remove("press", "a", a)
    assert subscription.take() == set()


def test_a_closed_subscription_hears_nothing_and_costs_nothing() -> None:
    hub = Hub()
    a = hub.point("press", "a", Source())
    subscription = hub.subscribe()
    subscription.close()
    subscription.close()
    a.touch()
    assert subscription.take() == set()
    assert hub._subscriptions == []
