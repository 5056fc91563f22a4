"""YAML itself: syntax errors with a hint, duplicate keys, anchors, merge keys, variables, limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.config.plants import plant, problems


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("server: {default_unit: ${UNIT}}", 'inside [ ] and { } a variable needs quotes: `"${UNIT}"`'),
        ("server: {default_unit: ${UNIT}}", "1:25: YAML: expected `,` or `}`; "),
        ("a: {unit: %}", '1:11: YAML: a text cannot begin so; a text that begins with `%` needs quotes: `"%"`'),
        ("a: @home", 'a text that begins with `@` needs quotes: `"@home"`'),
        ("server: {listen: [tcp://[::]:502]}", 'a text with [ ] needs quotes: `"tcp://[::]:502"`'),
        ("server: {listen: [::1]}", "a text that begins with `:` needs quotes"),
        ("server:\n\tlisten: x", "2:1: YAML: a text cannot begin so; indent with spaces, not with tabs"),
        ("a: b: c", "1:5: YAML: unexpected `: `; a text with `: ` in it needs quotes"),
        ("server:\n  a: 1\n   b: 2", "3:5: YAML: unexpected `: `; either the indentation of this line is wrong, or"),
        ("a: 'open\nb: 1", "YAML: a quote is never closed; it was opened in line 1"),
        ("a: [1, 2\nb: 3", "2:2: YAML: expected `,` or `]`; either a comma is missing, or the `[`"),
        ("a: *nothing", "1:4: YAML: an alias without its anchor; no `&nothing` stands before it; a text"),
        ("a: 1\n---\nb: 2", "2:1: YAML: a second document begins; a plant is one document"),
        (
            "- a\nb: 1",
            "2:1: YAML: this does not go on with what stands above it; the indentation of this line is wrong",
        ),
        ("a: \x01", "1:4: YAML: a control character (U+0001) stands in the text; remove it"),
        ("x-a: !secret b", "1:6: x-a: `!secret`: YAML tags mean nothing here"),
        ("? [a]\n: b", "1:3: a list or mapping cannot be a key"),
        ("x-a: &a {b: *a}", "an anchor contains itself"),
    ],
)
def test_a_syntax_error_has_a_place_and_a_hint(tmp_path: Path, text: str, said: str) -> None:
    told = problems(tmp_path, text)
    assert any(said in line for line in told), told


def test_a_key_that_stands_twice_is_a_mistake_quoted_or_not(tmp_path: Path) -> None:
    text = """
    units:
      1: {holding: 10}
      "1": {holding: 20}
    server: {backlog: 5, backlog: 6}
    """
    assert problems(tmp_path, text) == [
        "plant.yaml:3:3: units.1: the key '1' stands here twice; first in line 2",
        "plant.yaml:4:22: server.backlog: the key 'backlog' stands here twice; first in line 4",
    ]


def test_anchors_and_merge_keys(tmp_path: Path) -> None:
    text = """
    x-fast: &fast {every: 100ms, on_stale: hold}
    x-slow: &slow {every: 9s, timeout: 2s}
    devices:
      a: {<<: *fast, url: sim://, on_stale: zero}
      b:
        <<: [*fast, *slow]
        url: sim://
    """
    devices = plant(tmp_path, text).devices
    assert (devices["a"].every_s, devices["a"].on_stale) == (0.1, "zero")
    assert (devices["b"].every_s, devices["b"].timeout_s) == (0.1, 2.0)


def test_a_mistake_in_an_anchor_is_told_where_it_stands(tmp_path: Path) -> None:
    text = """
    x-fast: &fast {every: 100}
    devices:
      a: {<<: *fast, url: sim://}
      b: {<<: *fast, url: sim://}
    """
    assert problems(tmp_path, text) == [
        "plant.yaml:1:23: devices.a.every: a duration needs its unit: `100s` for seconds or `100ms` for milliseconds"
    ]


def test_aliases_that_grow_without_bound_are_refused_at_once(tmp_path: Path) -> None:
    lines = ["x-0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "once its aliases (`*name`) are written out" in problems(tmp_path, "\n".join(lines))[0]


def test_deep_nesting_is_a_message_and_no_crash(tmp_path: Path) -> None:
    assert problems(tmp_path, "x-a: " + "[" * 5000) != []
    assert problems(tmp_path, "x-a: " + "[" * 900 + "]" * 900) != []
    assert problems(tmp_path, "x-a: " + "[" * 20 + "]" * 20) == []
    chain = ["x-0: &a0 [1]"] + [f"x-{n}: &a{n} [*a{n - 1}]" for n in range(1, 3000)]
    assert "nested more than 32 deep" in problems(tmp_path, "\n".join(chain))[0]


def test_variables_are_expanded_in_values(tmp_path: Path) -> None:
    text = """
    server: {listen: "tcp://${HOST}:${PORT:-1502}", identity: {vendor: "$$5 ${EMPTY:-works}"}}
    """
    server = plant(tmp_path, text, environ={"HOST": "127.0.0.1", "EMPTY": ""}).server
    assert str(server.listen[0]) == "tcp://127.0.0.1:1502"
    assert server.identity.vendor == "$5 works"


def test_a_missing_variable_is_told_once(tmp_path: Path) -> None:
    text = """
    devices:
      a: {url: "tcp://${PLC}", unit: "${UNIT}", link: "$x"}
    """
    assert problems(tmp_path, text) == [
        "plant.yaml:2:12: devices.a.url: the environment has no `PLC`; set it, or give a default: `${PLC:-default}`",
        "plant.yaml:2:34: devices.a.unit: the environment has no `UNIT`; set it, or give a default: `${UNIT:-default}`",
        "plant.yaml:2:51: devices.a.link: `$` begins a variable, `${NAME}` or `${NAME:-default}`; "
        "write `$$` for a dollar",
    ]


def test_a_variable_cannot_smuggle_in_structure(tmp_path: Path) -> None:
    told = problems(tmp_path, "server: {backlog: '${X}'}", environ={"X": "5, default_unit: 9"})
    assert "is not a whole number" in told[0]


@pytest.mark.parametrize("value", ["", "~", "null"])
def test_nothing_is_no_value(tmp_path: Path, value: str) -> None:
    assert "1:10: server.backlog: has no value" in problems(tmp_path, f"server: {{backlog: {value}}}")[0]
