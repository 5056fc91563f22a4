"""What a configuration asks for, and the difference of two."""

from __future__ import annotations

from pathlib import Path

from gateway.app.blueprint import Blueprint, difference
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
