"""Freshness: judged when asked; what is gone is not judged."""

from __future__ import annotations

import math

from gateway.front.freshness import Freshness


class Milk:
    def __init__(self, expires_s: float) -> None:
        self.expires_s = expires_s
        self.expired = 0

    def expire(self) -> None:
        self.expired += 1
        self.expires_s = math.inf


def test_what_is_forgotten_does_not_expire() -> None:
    freshness = Freshness(lambda: 0.0)
    gone, left = Milk(5.0), Milk(6.0)
    freshness.watch(gone)
    freshness.watch(left)
    freshness.forget(gone)
    freshness.forget(gone)
    freshness.judge(10.0)
    assert (gone.expired, left.expired) == (0, 1)


def test_a_limit_that_was_moved_later_without_a_word_holds() -> None:
    freshness = Freshness(lambda: 0.0)
    milk = Milk(5.0)
    freshness.watch(milk)
    milk.expires_s = 20.0
    assert freshness.until_s == 5.0
    freshness.judge(6.0)
    assert milk.expired == 0
    assert freshness.until_s == 20.0


def test_one_that_forgets_others_while_it_expires_does_not_disturb_the_rest() -> None:
    freshness = Freshness(lambda: 0.0)
    milks = [Milk(5.0) for _ in range(4)]
    expire = milks[0].expire

    def and_forget() -> None:
        expire()
        freshness.forget(milks[3])

    milks[0].expire = and_forget  # type: ignore[method-assign]
    for milk in milks:
        freshness.watch(milk)
    freshness.judge(6.0)
    assert [milk.expired for milk in milks[:3]] == [1, 1, 1]


def test_a_forgotten_tick_is_never_called_again_also_if_it_was_touched() -> None:
    freshness = Freshness(lambda: 0.0)
    called: list[str] = []

    def one(now_s: float) -> None:
        called.append("one")

    def other(now_s: float) -> None:
        called.append("other")

    freshness.every_tick(one)
    freshness.every_tick(other)
    freshness.judge(1.0)
    freshness.touch(one)
    freshness.forget_tick(one)
    freshness.judge(5.0)
    assert called == ["one", "other", "other"]
    freshness.forget_tick(other)
    freshness.judge(9.0)
    assert freshness.until_s == math.inf


def test_what_a_tick_touches_is_called_before_the_next_answer() -> None:
    freshness = Freshness(lambda: 0.0)
    called: list[str] = []

    def second(now_s: float) -> None:
        called.append("second")

    def first(now_s: float) -> None:
        called.append("first")
        freshness.touch(second)

    freshness.touch(first)
    freshness.judge(1.0)
    assert freshness.until_s <= 1.0
    freshness.judge(1.0)
    assert called == ["first", "second"]
