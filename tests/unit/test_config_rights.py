"""`access`: rules that contradict themselves, that come too late, that fit nobody or let nobody in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.config.plants import plant, problems, warnings

REST = """
units: {1: {holding: 100, coils: 8}, 5: {forward: a}}
devices: {a: {url: tcp://h}}
tls: {cert: a.pem, key: a.key, ca: ca.pem}
"""


def rules(text: str, listen: str = "tls://0.0.0.0") -> str:
    return f"server: {{listen: '{listen}', access: {text}}}{REST}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "server.access: the list has no rule: nobody may do anything; write one, such as `- {from: any"),
        ("", "server.access: the list has no rule"),
        ("[{may: nothing}, {role: x, may: nothing}]", "server.access: no rule lets anybody do anything; add one"),
        ("[{from: 10.0.0.1/8, may: read}]", "`10.0.0.1/8` has bits behind its prefix; write `10.0.0.0/8`"),
        ("[{from: plant-1, may: read}]", "access[0].from[0]: `plant-1` is not a network; write `10.1.0.0/16`"),
        ("[{from: any, may: reed}]", "access[0].may: unknown value 'reed'; did you mean 'read'?"),
        ("[{from: any}]", "access[0]: the key 'may' is missing; write for example `may: read`"),
        ("[{source: any, may: read}]", "access[0].source: unknown key 'source'; did you mean 'from'?"),
        ("[{unit: 300, may: read}]", "access[0].unit[0]: unit ids end at 255, this is 300"),
        ("[{role: [], may: read}]", "access[0].role: the list is empty: the rule fits nothing"),
        ("[{table: coil, may: read}]", "access[0].table[0]: unknown value 'coil'; did you mean 'coils'?"),
        (
            "[{table: coils, range: holding:3, may: read}]",
            "access[0].range[0]: holding:3 (400004) is not in coils; remove the key `table`, the range says it",
        ),
        ("[{range: holding:3.1, may: read}]", "range[0]: rules are about whole registers: write `holding:3`"),
        ("[{table: coils, function: 3, may: read}]", "function 3 is about holding, this rule about coils"),
        ("[{range: coils:0, function: 43, may: read}]", "function 43 has no table, a rule with `table` or `range`"),
    ],
)
def test_a_list_that_cannot_be_meant(tmp_path: Path, text: str, said: str) -> None:
    (told,) = problems(tmp_path, rules(text))
    assert said in told


@pytest.mark.parametrize(
    "text",
    [
        "[{may: read}]",
        "[{from: 10.0.0.0/8, may: write}, {from: ['::1', 192.168.0.0/16], may: read}]",
        "[{role: none, may: read}, {role: [operator, engineer], may: write}]",
        "[{unit: [1, 5..9], range: [holding:0..9, coils:0], function: [3, 6, 16], may: write}, {may: read}]",
        "[{range: holding:0..9, may: write}, {range: holding:5..19, may: read}]",
        "[{from: 10.1.0.0/16, may: write}, {from: 10.0.0.0/8, may: read}]",
        "[{unit: 5, range: input:999, may: read}]",
        "[{table: holding, may: read}, {may: read}]",
        "[{range: holding:0..9, may: read}, {table: holding, may: write}]",
    ],
)
def test_a_list_that_is_meant(tmp_path: Path, text: str) -> None:
    assert warnings(tmp_path, rules(text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "[{may: read}, {from: 10.0.0.0/8, may: write}]",
        "[{from: 10.0.0.0/8, may: read}, {from: 10.1.2.3, may: write}]",
        "[{from: [10.0.0.0/8, '::/0'], may: read}, {from: ['fe80::/10', 10.9.0.0/16], may: write}]",
        "[{unit: 1..5, may: read}, {unit: [1, 5], may: write}]",
        "[{role: [a, b], may: read}, {role: b, may: write}]",
        "[{table: [holding, coils], may: read}, {range: [holding:3, coils:0..7], may: write}]",
        "[{range: [holding:0..9, holding:10..19], may: read}, {range: holding:5..15, may: write}]",
        "[{function: [3, 4, 6], may: write}, {function: 6, unit: 1, may: read}]",
    ],
)
def test_a_rule_that_comes_too_late_is_a_warning(tmp_path: Path, text: str) -> None:
    (told,) = warnings(tmp_path, rules(text))
    assert "server.access[1]: never decides: rule 1 (plant.yaml:1:" in told
    assert "fits all that this one does" in told


@pytest.mark.parametrize(
    ("text", "listen", "said"),
    [
        (
            "[{role: operator, may: write}, {may: read}]",
            "tcp://0.0.0.0",
            ["access[0].role: fits nobody: only clients of a `tls://` listener have a role"],
        ),
        (
            "[{from: 10.0.0.0/8, may: write}]",
            "rtu:///dev/ttyUSB0",
            [
                "access: nobody may do anything on rtu:///dev/ttyUSB0?baudrate=19200: a serial line has no addresses",
                "access[0].from: fits nobody: a serial line has no addresses, only `any` fits it",
            ],
        ),
        ("[{unit: [1, 7], may: read}]", "tls://0.0.0.0", ["unit[1]: there is no unit that has the unit id 7"]),
        ("[{unit: 20..30, may: read}]", "tls://0.0.0.0", ["there is no unit that has a unit id of 20..30"]),
        ("[{unit: 1, range: input:9, may: read}]", "tls://0.0.0.0", ["range[0]: unit 1 has no input:9 (300010)"]),
        ("[{unit: 1, range: holding:100..200, may: read}]", "tls://0.0.0.0", ["unit 1 has no holding:100..200"]),
    ],
)
def test_a_rule_that_fits_nobody_or_nothing_is_a_warning(
    tmp_path: Path, text: str, listen: str, said: list[str]
) -> None:
    rest = REST if "tls" in listen else REST.partition("tls")[0]
    told = warnings(tmp_path, f"server: {{listen: '{listen}', access: {text}}}{rest}")
    assert len(told) == len(said)
    assert all(part in line for part, line in zip(said, told, strict=True)), told


def test_a_listener_may_have_rules_of_its_own(tmp_path: Path) -> None:
    text = """
    server:
      access: [{from: 10.0.0.0/8, may: write}]
      listen:
        - tcp://0.0.0.0:502
        - {url: "rtu:///dev/ttyUSB0", access: [{from: any, may: read}]}
        - url: tcp://0.0.0.0:503
          access: [{role: x, may: read}, {may: nothing}]
    """
    (told,) = warnings(tmp_path, text)
    assert told.startswith("plant.yaml:7:23: server.listen[2].access[0].role: fits nobody")
    config = plant(tmp_path, text)
    assert config.server.listen[0].access is None
    assert [str(listener) for listener in config.server.listen][1] == "rtu:///dev/ttyUSB0?baudrate=19200"


def test_rules_that_every_listener_overrides_decide_nothing(tmp_path: Path) -> None:
    text = "server: {access: [{may: read}], listen: {url: tcp://0.0.0.0, access: [{may: read}]}}"
    (told,) = warnings(tmp_path, text)
    assert "server.access: decides nothing: every listener has an `access` of its own" in told


def test_no_list_is_everybody(tmp_path: Path) -> None:
    assert plant(tmp_path, "server: {listen: tcp://0.0.0.0}").server.access is None
