"""Requested and achieved rates, lag and load; one warning when a link is asked for more than it can give."""

from __future__ import annotations

import logging

import pytest

from gateway.polling.rates import OVERLOAD_S, Rates
from gateway.polling.wheel import Turn
from tests.support.polled import Polled


class Watched(Polled):
    """A device whose link is measured every second."""

    def __init__(self, *, every_s: float = 1.0, took_s: float = 0.01, delay_s: float = 0.0, in_flight: int = 1) -> None:
        super().__init__(0, 10, every_s=every_s, stale_s=1000.0)
        self.link.took_s = took_s
        self.rates = Rates(self.time)
        self.rates.watch("plc", "tcp://plc:502 (press)", in_flight, delay_s, [self.device])
        self.wheel.add(Turn(1.0, self._tick))

    def _tick(self) -> bool:
        self.rates.tick(self.time.now_s)
        return True

    @property
    def row(self) -> dict[str, object]:
        (row,) = self.device.snapshot(self.time.now_s)["jobs"]
        return row  # type: ignore[no-any-return]


def test_a_job_that_keeps_its_rate_says_so() -> None:
    plant = Watched(every_s=0.1, took_s=0.02)
    assert plant.row["achieved_per_s"] is None
    assert plant.rates.load_percent("plc") is None, "not 0: nobody knows yet"
    plant.run(40)
    row = plant.row
    assert row["requested_per_s"] == pytest.approx(10)
    assert row["achieved_per_s"] == pytest.approx(10, rel=0.02)
    assert row["overload_percent"] == 0
    assert row["took_s"] == pytest.approx(0.02, rel=0.01)
    assert plant.rates.load_percent("plc") == pytest.approx(20, rel=0.02)
    assert isinstance(row["lag_s"], float)
    assert row["lag_s"] < 0.002


def test_the_quiet_time_and_requests_in_flight_count_for_the_load() -> None:
    plant = Watched(every_s=0.1, took_s=0.02, delay_s=0.01, in_flight=2)
    plant.run(20)
    assert plant.rates.load_percent("plc") == pytest.approx(15, rel=0.02)
    assert plant.rates.load_percent("other") == 0.0


def test_the_quiet_time_is_not_shared_by_the_requests_in_flight(caplog: pytest.LogCaptureFixture) -> None:
    plant = Watched(every_s=0.1, took_s=0.01, delay_s=0.15, in_flight=4)
    submit = plant.link.submit

    def after_the_quiet_time(request: object) -> None:
        request.out = True  # type: ignore[attr-defined]
        plant.time.call_at(plant.time.now_s + 0.14, lambda: submit(request))  # type: ignore[arg-type]

    plant.group.jobs[0]._submit = after_the_quiet_time
    plant.run(2 * OVERLOAD_S)
    assert plant.rates.load_percent("plc") == pytest.approx(150, rel=0.02)
    assert "overloaded, its polls ask for 150 % of its time" in caplog.text


def test_a_slow_job_is_measured_over_three_intervals() -> None:
    plant = Watched(every_s=60.0)
    plant.run(600)
    assert plant.row["achieved_per_s"] == pytest.approx(1 / 60)
    assert plant.row["overload_percent"] == 0


def test_what_fails_is_not_achieved_and_no_overload() -> None:
    plant = Watched(every_s=0.1)
    plant.run(30)
    plant.plc.refuse_all = 4
    plant.run(60)
    assert plant.row["achieved_per_s"] == 0.0
    assert plant.row["overload_percent"] == 0


def test_an_overloaded_link_is_told_once_with_its_jobs_and_once_when_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    plant = Watched(every_s=0.1, took_s=0.25)
    plant.run(OVERLOAD_S - 5)
    assert not caplog.records
    plant.run(3 * OVERLOAD_S)
    (line,) = (record.getMessage() for record in caplog.records)
    assert line == (
        "tcp://plc:502 (press): overloaded, its polls ask for 250 % of its time: device press holding:0..9 "
        "(400001..400010) every 0.1 s takes 250 ms, 250 % (at most every 0.25 s if it were alone). "
        "All would fit with intervals 2.5 times as long"
    )
    row = plant.row
    assert row["achieved_per_s"] == pytest.approx(10 / 3, rel=0.05)
    assert row["overload_percent"] == pytest.approx(200 / 3, rel=0.05)
    plant.link.took_s = 0.02
    plant.run(2 * OVERLOAD_S)
    assert [record.getMessage() for record in caplog.records[1:]] == [
        "tcp://plc:502 (press): no longer overloaded, 20 % of its time is asked for"
    ]


def test_a_short_rush_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    plant = Watched(every_s=0.1, took_s=0.25)
    for _ in range(5):
        plant.link.took_s = 0.25
        plant.run(15)
        plant.link.took_s = 0.01
        plant.run(20)
    assert not caplog.records


def test_a_silent_unit_costs_its_time_outs_until_it_is_demoted() -> None:
    plant = Watched(every_s=2.0)
    plant.run(20)
    plant.plc.is_silent = True
    plant.run(60)
    assert plant.rates.load_percent("plc") == pytest.approx(50, rel=0.1)
    plant.link.silent_units.add(1)
    plant.run(10)
    assert plant.rates.load_percent("plc") == 0


def test_lag_is_the_time_a_request_waits_for_its_turn() -> None:
    plant = Watched(every_s=1.0)
    submit = plant.link.submit

    def later(request: object) -> None:
        request.out = True  # type: ignore[attr-defined]
        request.attempts = 0  # type: ignore[attr-defined]
        plant.time.call_at(plant.time.now_s + 0.3, lambda: submit(request))  # type: ignore[arg-type]

    plant.group.jobs[0]._submit = later
    plant.run(60)
    assert plant.row["lag_s"] == pytest.approx(0.3, abs=0.05)


def test_a_link_that_is_forgotten_is_not_measured_any_more() -> None:
    plant = Watched()
    plant.run(10)
    plant.rates.forget("plc")
    plant.run(10)
    assert plant.rates.load_percent("plc") == 0.0


def test_a_link_whose_turns_are_all_kept_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    plant = Watched(every_s=0.1, took_s=0.09, delay_s=0.05)  # several in flight inside the device
    plant.run(3 * OVERLOAD_S)
    assert plant.rates.load_percent("plc") > 100
    assert not caplog.records


def test_a_reload_keeps_what_was_measured_of_a_link(caplog: pytest.LogCaptureFixture) -> None:
    plant = Watched(every_s=0.1, took_s=0.25)
    for _ in range(12):
        plant.run(10)
        before = plant.rates.load_percent("plc")
        plant.rates.watch("plc", "tcp://plc:502 (press)", 1, 0.0, [plant.device])
        assert plant.rates.load_percent("plc") == before
    assert len(caplog.records) == 1


def test_a_poll_out_of_its_turn_is_no_lag() -> None:
    plant = Watched(every_s=10.0)
    for _ in range(60):
        plant.run(3.3)
        plant.group.jobs[0].poke()
        plant.run(1.2)
    assert plant.row["lag_s"] == pytest.approx(0.0, abs=0.01)
