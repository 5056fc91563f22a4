"""What a configuration asks for, and the difference of two."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.app.blueprint import Blueprint
from gateway.app.difference import difference
from gateway.config.load import load

PLANT = """
links: {bridge: {url: "tcp://127.0.0.1:1502"}}
units: {5: {forward: bridge}}
devices: {press: {url: "tcp://127.0.0.1:1503", tags: {a: {at: holding:0, type: uint16, to: 1/holding:0}}}}
"""


def blueprint(directory: Path, text: str, *, simulate: bool = False) -> Blueprint:
    path = directory / "plant.yaml"
    path.write_text(text, encoding="utf-8")
    return Blueprint(load(path), simulate=simulate)


def test_simulated_means_every_link_also_one_that_only_routes_use(tmp_path: Path) -> None:
    assert all(plan.simulation is None for plan in blueprint(tmp_path, PLANT).links.values())
    simulated = blueprint(tmp_path, PLANT, simulate=True)
    assert all(plan.simulation is not None for plan in simulated.links.values())


def test_a_route_to_another_unit_of_a_simulated_link_makes_another_simulation(tmp_path: Path) -> None:
    before = blueprint(tmp_path, PLANT, simulate=True)
    after = blueprint(tmp_path, PLANT.replace("5: {forward", "5..6: {forward"), simulate=True)
    assert difference(before, after).links_new == ["bridge"]


def test_what_is_the_same_is_no_difference(tmp_path: Path) -> None:
    found = difference(blueprint(tmp_path, PLANT), blueprint(tmp_path, PLANT + "# a comment"))
    assert found.lines == []
    assert not any(
        (found.links_gone, found.links_new, found.devices_new, found.jobs_new, found.routes_new, found.sends)
    )


# -- all units of a line --------------------------------------------------------------------------------------------

LINE = """
links: {bus: {url: %s}}
devices: {all: {link: bus, unit: 0, push: [{write: holding:0, from: 1/holding:0, on: change}]}}
units:
  1: {holding: 10}
  0: {forward: bus}
  7: {forward: all}
  8: {forward: bus, to_unit: 0, functions: [5, 6, 16]}
  17: {forward: bus, functions: [3, 6, 16]}
  18: {forward: bus%s}
"""


@pytest.mark.parametrize("url", ["rtu:///dev/ttyS0", "rtu+tcp://h", "ascii+tcp://h", "[tcp://h, 'rtu:///dev/ttyS0']"])
def test_what_leads_to_unit_0_of_a_line_has_the_limits_of_all_routes_to_it(tmp_path: Path, url: str) -> None:
    made = blueprint(tmp_path, LINE % (url, ""))
    assert made.is_line("bus")
    assert [(unit_id, plan.functions) for unit_id, plan in made.routes.items() if plan.broadcast] == [
        (unit_id, {6, 16}) for unit_id in (0, 7, 8)
    ]
    assert made.broadcasts["bus"].unit_ids == (0, 7, 8, 17, 18)
    assert not any(plan.read_only for plan in made.routes.values())
    stricter = blueprint(tmp_path, LINE % (url, ", read_only: true"))
    assert [unit_id for unit_id, plan in stricter.routes.items() if plan.read_only] == [0, 7, 8, 18]
    assert difference(made, stricter).routes_new == [0, 7, 8, 18], "who is all of them changes with each"


def test_with_transaction_ids_unit_0_is_a_unit(tmp_path: Path) -> None:
    made = blueprint(tmp_path, LINE % ("tcp://h", ", read_only: true"))
    assert not made.is_line("bus")
    assert [unit_id for unit_id, plan in made.routes.items() if plan.read_only] == [18]
