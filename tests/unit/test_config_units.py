"""The section `units`: register images, what is passed through to devices, and what is mapped where."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.config.plants import plant, problems, warnings

PRESS = "devices: {press: {url: tcp://10.0.0.1, unit: 3, poll: [{read: holding:0, to: 1/holding:0}]}}\n"
LINK = "links: {bus: {url: tcp://10.0.0.2}}\n"
BOTH = PRESS + LINK


def units(text: str) -> str:
    return f"units: {{{text}}}\n{BOTH}"


def test_routes_and_register_images_are_told_apart(tmp_path: Path) -> None:
    text = """
    units:
      1: {holding: 100, retain: true}
      5: {forward: press}
      10..12: {forward: bus, to_unit: 9, read_only: true, functions: [3, 0x10], cache: 200ms, timeout: 2s}
      13:
    """
    config = plant(tmp_path, text.replace("\n    ", "\n") + BOTH)
    assert list(config.units) == [1, 13]
    assert config.units[1].retain
    assert sorted(config.routes) == [5, 10, 11, 12]
    assert config.units is config.units
    assert (config.routes[5].forward, config.routes[5].to_unit, config.routes[5].functions) == ("press", None, None)
    ranged = config.routes[11]
    assert (ranged.to_unit, ranged.read_only, ranged.functions) == (9, True, (3, 16))
    assert (ranged.cache_s, ranged.timeout_s) == (0.2, 2.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10..5: {forward: bus}", "1:9: units.10..5: `10..5` runs backwards: write `5..10`"),
        ("5..5: {forward: bus}", "1:9: units.5..5: `5..5` is one unit id; write `5`"),
        ("5..256: {forward: bus}", "1:9: units.5..256: unit ids end at 255, this is 256"),
        ("05..9: {forward: bus}", "1:9: units.05..9: `05` is not a unit id; write 5"),
        ("5..: {forward: bus}", "1:9: units.5..: `` is not a unit id: 0..255 in plain decimal"),
        ("a: {forward: bus}", "1:9: units.a: `a` is not a unit id: 0..255 in plain decimal, or a range"),
        (
            "10..20: {holding: 5}",
            "1:9: units.10..20: a range of unit ids is for forwarding: write `forward: NAME`, or a register image "
            "under one unit id, such as `10:`",
        ),
        ("5..9: {forward: bus}, 7: {holding: 9}", "1:31: units.7: the unit id 7 stands in `5..9` too (plant.yaml:1:9)"),
        (
            "5..9: {forward: bus}, 8..12: {forward: press}",
            "1:31: units.8..12: the unit ids 8..9 stand in `5..9` too (plant.yaml:1:9)",
        ),
        ("5: {forward: pres}", "1:22: units.5.forward: there is no device and no link 'pres'; did you mean 'press'?"),
        ("5..9: {forward: x}", "units.5..9.forward: there is no device and no link 'x'; choose from bus, press"),
        ("5: {forward: }", "units.5.forward: has no value; write a text"),
        ("5: {to_unit: 3}", "1:9: units.5: the key 'forward' is missing; write for example `forward: press`"),
        ("5: {foward: bus}", "1:13: units.5.foward: unknown key 'foward'; did you mean 'forward'?"),
        ("5: {foward: bus, read_only: true}", "units.5.foward: unknown key 'foward'; did you mean 'forward'?"),
        ("5: {forward: bus, tounit: 4}", "1:27: units.5.tounit: unknown key 'tounit'; did you mean 'to_unit'?"),
        ("5: {forward: bus, holding: 9}", "unknown key 'holding'; choose from cache, forward, functions, read_only"),
        ("5: {route: bus}", "1:13: units.5.route: unknown key 'route'; did you mean 'forward'?"),
        ("5: {holdin: 9}", "1:13: units.5.holdin: unknown key 'holdin'; did you mean 'holding'?"),
        ("5: {forward: bus, to_unit: 256}", "1:36: units.5.to_unit: must be at most 255, this is 256"),
        ("5: {forward: bus, read_only: [holding:5]}", "units.5.read_only: is a list; expected true or false"),
        ("5: {forward: bus, functions: [3, 128]}", "units.5.functions: 128 is not a function code; those are 1..127"),
        ("5: {forward: bus, functions: [3, 0x03]}", "units.5.functions: the function 3 stands here twice"),
        ("5: {forward: bus, functions: []}", "units.5.functions: the list is empty: nothing would pass"),
        ("5: {forward: bus, cache: 2h}", "1:34: units.5.cache: must be at most 1h, this is 2h"),
        ("5: {forward: bus, cache: 5}", "units.5.cache: a duration needs its unit"),
        ("5: {forward: bus, timeout: 1ms}", "1:36: units.5.timeout: must be at least 10ms, this is 1ms"),
        ("5: 7", "1:12: units.5: expected keys with values (`key: value`), not the text `7`"),
        ("5: {holding: 9, retain: perhaps}", "units.5.retain: `perhaps` is neither true nor false"),
        (
            "5: {input: 9, retain: true}",
            "1:31: units.5.retain: unit 5 has no registers of our own that clients can write; declare some",
        ),
        ("1: {holding: 1, retain: true}", "units.1.retain: unit 1 has no registers of our own"),
    ],
)
def test_units_that_cannot_be(tmp_path: Path, text: str, said: str) -> None:
    told = problems(tmp_path, units(text))
    assert len(told) == 1
    assert said in told[0]


def test_mistakes_in_one_route_are_told_together(tmp_path: Path) -> None:
    told = problems(tmp_path, units("5..9: {forward: nobody, functions: x, cach: 1s, to_unit: 300}"))
    assert [line.split(": ")[1] for line in told] == [
        f"units.5..9.{key}" for key in ("forward", "functions", "cach", "to_unit")
    ]


@pytest.mark.parametrize(
    "text",
    [
        "0: {forward: bus}",
        "255: {forward: press, read_only: true, functions: [3]}",
        "10..20: {forward: bus}",
        "5: {forward: bus, to_unit: 0, cache: 1h}",
        "5: {holding: 9, retain: true}, 6: {coils: 9, retain: true}",
        "1: {holding: 0..1, retain: true}",
        "5: {forward: bus, functions: 3}",
    ],
)
def test_units_that_can_be(tmp_path: Path, text: str) -> None:
    told = warnings(tmp_path, units(text))
    assert [line for line in told if "no device uses this link" not in line] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "10..20: {forward: bus, to_unit: 3}",
            "1:41: units.10..20.to_unit: all unit ids of `10..20` reach the one unit 3; without `to_unit` each keeps",
        ),
        (
            "10..20: {forward: press}",
            "1:27: units.10..20.forward: all unit ids of `10..20` reach the one unit 3 of 'press'",
        ),
        (
            "5: {forward: bus, read_only: true, functions: [5, 6, 15, 16, 22, 23]}",
            "units.5.functions: these functions write, and `read_only` refuses them: nothing passes",
        ),
    ],
)
def test_routes_that_are_probably_not_meant(tmp_path: Path, text: str, said: str) -> None:
    told = warnings(tmp_path, units(text))
    assert [said in line for line in told if "no device uses this link" not in line] == [True]


LINE = """
links: {bus: {url: [tcp://10.0.0.2, rtu:///dev/ttyUSB0]}}
devices: {all: {link: bus, unit: 0, push: [{write: holding:0, from: 1/holding:0, on: change}]}}
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0: {forward: bus}, 5: {forward: bus}, 6: {forward: bus, functions: [3, 6]}", None),
        ("5: {forward: bus, read_only: true}, 6: {forward: bus}", None),
        ("0: {forward: bus}, 5: {forward: bus, read_only: true}", "units.0.forward: @`5` is read-only (plant.yaml:1:"),
        ("9: {forward: bus, to_unit: 0, read_only: true}", "units.9.forward: @this is read-only (plant.yaml:1:"),
        (
            "9: {forward: all}, 5: {forward: bus, functions: [3, 4]}",
            "units.9.forward: @`5` lets no function of a broadcast (5, 6, 15, 16, 22) pass (plant.yaml:1:",
        ),
    ],
)
def test_all_units_of_a_line_that_nobody_may_write_together(tmp_path: Path, text: str, said: str | None) -> None:
    told = warnings(tmp_path, f"units: {{1: {{holding: 9}}, {text}}}{LINE}")
    reason = "unit 0 of a line is all of its units, and passes what all routes to it let pass: "
    assert (told == []) if said is None else (len(told) == 1 and said.replace("@", reason) in told[0]), told


def test_a_route_to_a_disabled_device_is_a_warning(tmp_path: Path) -> None:
    text = "units: {5: {forward: a}}\ndevices: {a: {url: sim://, enabled: no}}\n"
    assert warnings(tmp_path, text) == [
        "plant.yaml:1:22: units.5.forward: the device 'a' is disabled (plant.yaml:2:37): clients get exception 0B"
    ]


def test_a_device_or_link_that_a_route_uses_is_used(tmp_path: Path) -> None:
    text = "units: {5: {forward: a}, 6: {forward: bus}}\ndevices: {a: {url: sim://}}\n" + LINK
    assert warnings(tmp_path, text) == []
    assert len(warnings(tmp_path, text.replace("forward", "x-forward").replace("units:", "x-units:"))) == 2


def test_nothing_of_ours_lies_in_a_unit_that_is_passed_through(tmp_path: Path) -> None:
    text = """
    server: {status: input:0}
    units: {1: {forward: a}, 5..9: {forward: a}}
    devices:
      a:
        url: tcp://10.0.0.1
        status: 5/input:0
        poll: [{read: holding:0, to: 6/holding:0}]
        push: [{write: holding:5, from: 7/holding:5, on: change}]
        tags: {t: {at: holding:0, type: int16, to: holding:7}}
    """
    assert problems(tmp_path, text) == [
        "plant.yaml:1:18: server.status: "
        "unit 1, the `default_unit`, is forwarded to 'a' (plant.yaml:2:9) and has no registers of ours",
        "plant.yaml:6:13: devices.a.status: unit 5 is forwarded to 'a' (plant.yaml:2:26) and has no registers of ours",
        "plant.yaml:7:34: devices.a.poll[0].to: "
        "unit 6 is forwarded to 'a' (plant.yaml:2:26) and has no registers of ours",
        "plant.yaml:8:37: devices.a.push[0].from: "
        "unit 7 is forwarded to 'a' (plant.yaml:2:26) and has no registers of ours",
        "plant.yaml:9:48: devices.a.tags.t.to: "
        "unit 1, the `default_unit`, is forwarded to 'a' (plant.yaml:2:9) and has no registers of ours",
    ]


def test_a_name_that_was_left_out_is_not_called_unknown(tmp_path: Path) -> None:
    text = "units: {5: {forward: a}, 6: {forward: b}}\ndevices: {a: 5}\nlinks: {b: {url: x}}\n"
    assert [line.split(": ")[1] for line in problems(tmp_path, text)] == ["devices.a", "links.b.url"]
