"""What concerns two keys at once: each rule of config.md with the plant that breaks it."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import yaml

from gateway.config.load import load
from gateway.errors import ConfigError
from tests.support.config.plants import problems, warnings

SIM = "devices: {a: {url: sim://"
DEVICE = "devices:\n  d:\n    url: tcp://10.0.0.1\n"


def tag(text: str) -> str:
    return f"{DEVICE}    tags: {{t: {{{text}}}}}\n"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("at: coils:0, type: int16", "devices.d.tags.t.type: coils:0 (000001) is a bit, only `type: bool` fits it"),
        ("at: holding:0.3, type: int16", "t.type: holding:0.3 (400001.3) is one bit, only `type: bool` fits it"),
        ("at: coils:0..3, type: bool", "t.at: a bool is one bit or one register, this is coils:0..3"),
        ("at: holding:0, type: string", "t.at: the length of a string is its range: write for example `holding:0..7`"),
        ("at: holding:0..2, type: float32", "float32 occupies 2 registers, this range has 3; write `holding:0..1`"),
        ("at: holding:65535, type: int32", "from holding:65535 (465536) it runs past 65535"),
        (
            "at: holding:0..199, type: string",
            "needs 200 registers in one request, `max_registers` of the device is 125",
        ),
        ("at: coils:0, type: bool, order: BADC", "t.order: bits have no byte order; remove the key"),
        ("at: coils:0, type: bool, scale: 2", "t.scale: a bool is no number; remove the key"),
        ("at: holding:0..3, type: string, offset: 2", "t.offset: a string is no number; remove the key"),
        ("at: holding:0, type: bool, deadband: 1", "t.deadband: a bool is no number"),
        ("at: holding:0, type: bool, no_value: 1", "t.no_value: a bool is no number"),
        ("at: holding:0, type: int16, scale: 0", "t.scale: 0 would make every value the same"),
        ("at: holding:0, type: int16, deadband: -1", "t.deadband: is a distance and cannot be negative, this is -1"),
        ("at: holding:0, type: int16, no_value: 0x18000", "0x18000 has more than the 4 hexadecimal digits of int16"),
        ("at: holding:0, type: int16, no_value: 65535", "int16 never is 65535, only -32768..32767"),
        ("at: holding:0, type: int16, no_value: 0.5", "int16 never is 0.5"),
        ("at: holding:0, type: bcd16, no_value: 10000", "bcd16 never is 10000"),
        ('at: holding:0, type: int16, sim: "sin(1, 2, 3s)"', "t.sim: unknown signal 'sin'; did you mean 'sine'?"),
        ('at: holding:0, type: bool, sim: "sine(0, 1, 3s)"', "t.sim: a bool is 0 or 1: write `square(PERIOD)`"),
        ("at: holding:0..3, type: string, sim: 5", "t.sim: there are no simulated signals for strings"),
        ("at: holding:0, type: int16, every: 5ms", "t.every: must be at least 10ms, this is 5ms"),
        ("at: holding:0, type: int16, to: coils:0", "t.to: coils:0 (000001) is a bit, an int16 does not fit it"),
        ("at: holding:0, type: uint16, to: holding:0.3", "holding:0.3 (400001.3) is one bit, a uint16 does not fit it"),
        ("at: holding:0, type: float32, to: holding:0..2", "t.to: a float32 has 2 registers, this range has 3"),
        ("at: holding:0, type: float32, to: holding:65535", "t.to: a float32 has 2 registers; from holding:65535"),
        ("at: coils:0, type: bool, as: raw, to: holding:0", "t.to: a raw bit stays a bit"),
        ("at: holding:0, type: int16, as: raw, to: coils:0", "t.to: coils:0 (000001) is a bit, a copy of registers"),
        ("at: holding:0..3, type: string, as: int16, to: holding:0", "t.as: a string is no int16"),
        ("at: holding:0..3, type: string, to: holding:0..2", "t.to: a string has 4 registers, this range has 3"),
    ],
)
def test_a_tag_that_cannot_be(tmp_path: Path, keys: str, said: str) -> None:
    told = problems(tmp_path, tag(keys))
    assert len(told) == 1
    assert said in told[0]


@pytest.mark.parametrize(
    "keys",
    [
        "at: holding:10..11, type: float32, to: 1/holding:0..1",
        "at: holding:0, type: bool, to: holding:0",
        "at: holding:0.15, type: bool, to: holding:5.3",
        "at: coils:0, type: bool, to: coils:5",
        "at: discrete:0, type: bool, as: float32, to: input:5",
        "at: holding:0..0, type: string, order: BADC, to: input:5",
        "at: holding:0..7, type: string, as: raw, to: input:5",
        "at: holding:0, type: int16, scale: 0.1, as: float32, to: input:5, no_value: [0x8000, -1]",
        "at: holding:0, type: int16, scale: 10, offset: -5, to: input:5",
        "at: holding:0, type: float64, no_value: [1e30, 0x7FF8000000000000], to: input:65532",
        'at: holding:0, type: bool, sim: "square(5s)", to: input:0',
        "at: holding:0, type: bool, sim: 1, to: input:0",
    ],
)
def test_a_tag_that_can_be(tmp_path: Path, keys: str) -> None:
    assert warnings(tmp_path, tag(keys)) == []


@pytest.mark.parametrize(
    ("poll", "said"),
    [
        ("read: holding:0.3, to: holding:0", "poll[0].read: a poll reads whole registers: write `holding:0`"),
        ("read: coils:0..9, to: holding:0", "poll[0].to: a poll copies bits as they are, to coils or discrete"),
        ("read: holding:0..9, to: coils:0", "poll[0].to: a poll copies registers as they are, to holding or input"),
        ("read: holding:0..9, to: holding:0.3", "poll[0].to: a poll copies whole registers"),
        ("read: holding:0..9, to: holding:0..5", "poll[0].to: the poll has 10 registers, this range has 6"),
        ("read: holding:0..9, to: holding:65530", "poll[0].to: the poll has 10 registers; from holding:65530"),
        ("read: holding:0..9, to: holding:0, every: 1ms", "poll[0].every: must be at least 10ms, this is 1ms"),
    ],
)
def test_a_poll_that_cannot_be(tmp_path: Path, poll: str, said: str) -> None:
    told = problems(tmp_path, f"{DEVICE}    poll: [{{{poll}}}]\n")
    assert len(told) == 1
    assert said in told[0]


def two(first: str, second: str) -> str:
    return f"{DEVICE}    tags:\n      a: {{{first}}}\n      b: {{{second}}}\n"


@pytest.mark.parametrize(
    ("first", "second", "place"),
    [
        ("at: holding:0, type: float32, to: input:0", "at: holding:0, type: int16, to: input:1", "1/input:1 (300002)"),
        ("at: holding:0, type: int16, to: input:1", "at: holding:0, type: float32, to: input:0", "1/input:1 (300002)"),
        ("at: holding:0, type: bool, to: input:1.3", "at: holding:1, type: bool, to: input:1.3", "1/input:1.3"),
        ("at: holding:0, type: bool, to: input:1", "at: holding:1, type: bool, to: input:1.3", "1/input:1.3"),
        ("at: coils:0, type: bool, to: 1/coils:1", "at: coils:1, type: bool, to: coils:1", "1/coils:1 (000002)"),
    ],
)
def test_two_writers_of_one_place_are_named(tmp_path: Path, first: str, second: str, place: str) -> None:
    told = problems(tmp_path, two(first, second))
    assert len(told) == 1
    assert told[0].startswith("plant.yaml:6:")
    assert f"devices.d.tags.b.to: two write {place}" in told[0]
    assert "this and devices.d.tags.a (plant.yaml:5:" in told[0]


def test_writers_side_by_side_are_no_overlap(tmp_path: Path) -> None:
    text = two("at: holding:0, type: bool, to: input:1.3", "at: holding:1, type: bool, to: input:1.4")
    assert problems(tmp_path, text) == []
    assert (
        problems(tmp_path, two("at: coils:0, type: bool, to: 2/coils:1", "at: coils:1, type: bool, to: coils:1")) == []
    )


def test_polls_and_status_blocks_are_writers_too(tmp_path: Path) -> None:
    text = """
    server: {status: input:0}
    devices:
      d:
        url: tcp://10.0.0.1
        status: input:7
        poll: [{read: holding:0..9, to: input:14}]
    """
    assert problems(tmp_path, text) == [
        "plant.yaml:5:13: devices.d.status: two write 1/input:7 (300008): this and server.status (plant.yaml:1:18)",
        "plant.yaml:6:37: devices.d.poll[0].to: two write 1/input:14 (300015): "
        "this and devices.d.status (plant.yaml:5:13)",
    ]


def test_a_status_block_is_eight_input_registers(tmp_path: Path) -> None:
    assert (
        "a status block is 8 input registers, such as `1/input:9000`; this is holding:0"
        in problems(tmp_path, "server: {status: holding:0}")[0]
    )
    assert "a status block has 8 registers, this range has 4" in problems(tmp_path, "server: {status: input:0..3}")[0]
    assert problems(tmp_path, "server: {status: input:0..7}") == []
    assert "runs past 65535" in problems(tmp_path, "server: {status: input:65530}")[0]


def test_a_declared_table_contains_what_is_mapped_into_it(tmp_path: Path) -> None:
    text = """
    server: {status: 1/input:95}
    units: {1: {input: [0..9, 10..99]}, 2: {holding: 5}}
    devices:
      d:
        url: tcp://10.0.0.1
        poll:
          - {read: holding:0..3, to: 1/input:8}
          - {read: holding:0..3, to: 1/holding:8}
          - {read: holding:0..3, to: 2/holding:3}
          - {read: holding:0..3, to: 3/holding:3}
    """
    assert problems(tmp_path, text) == [
        "plant.yaml:1:18: server.status: 1/input:95..102 (300096..300103) is outside of what unit 1 declares: "
        "input: 0..9, 10..99 (plant.yaml:2:13)",
        "plant.yaml:9:34: devices.d.poll[2].to: 2/holding:3..6 (400004..400007) is outside of what unit 2 declares: "
        "holding: 0..4 (plant.yaml:2:50)",
    ]


def test_initial_values_are_for_registers_of_our_own(tmp_path: Path) -> None:
    text = """
    units:
      1:
        holding: 100
        initial:
          holding:0: 1
          holding:99: [1, 2]
          input:0: 1
          holding:20: [1, 2]
          holding:21: 5
    devices:
      d: {url: tcp://10.0.0.1, tags: {t: {at: holding:0, type: bool, to: holding:0.3}}}
    """
    assert problems(tmp_path, text) == [
        "plant.yaml:5:7: units.1.initial.holding:0: holding:0 (400001) is mapped to a device; "
        "`initial` is for registers of our own",
        "plant.yaml:6:7: units.1.initial.holding:99: unit 1 has no holding:99..100 (400100..400101); "
        "the unit declares holding: 0..99",
        "plant.yaml:7:7: units.1.initial.input:0: unit 1 has no input:0 (300001); declare the table: `input: 0..999`",
        "plant.yaml:9:7: units.1.initial.holding:21: holding:21 (400022) has an initial value already",
    ]


def test_read_only_lies_inside_what_there_is(tmp_path: Path) -> None:
    text = """
    units:
      1: {holding: 100, read_only: [holding:50..100, input:0, holding:5.3, coils:0..9, coils:8..10]}
      2: {read_only: holding:0..1}
    devices:
      d:
        url: tcp://10.0.0.1
        poll: [{read: coils:0..9, to: coils:0}, {read: holding:0, to: 2/holding:0}]
        tags: {t: {at: holding:0, type: bool, to: 2/holding:1.3}}
    """
    told = problems(tmp_path, text)
    assert [line.split(": ")[1] for line in told] == [f"units.1.read_only[{number}]" for number in (0, 1, 2, 4)]
    assert "clients can never write input; remove it" in told[1]
    assert "write `holding:5`" in told[2]


def test_devices_that_share_a_url_agree_on_the_connection(tmp_path: Path) -> None:
    text = """
    devices:
      a: {url: tcp://10.0.0.1:502, delay: 5ms}
      b: {url: tcp://10.0.0.1, in_flight: 2, keepalive: 60s}
      c: {url: tcp://10.0.0.1, delay: 5ms, source: 10.0.0.9}
    """
    told = problems(tmp_path, text)
    assert told == [
        "plant.yaml:3:3: devices.b.delay: devices with the same url share one connection: "
        "'delay' is 0s here and 5ms for a (plant.yaml:2:39)",
        "plant.yaml:3:39: devices.b.in_flight: devices with the same url share one connection: "
        "'in_flight' is 2 here and 1 for a (plant.yaml:2:3)",
        "plant.yaml:4:48: devices.c.source: devices with the same url share one connection: "
        "'source' is 10.0.0.9 here and any address for a (plant.yaml:2:3)",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("devices: {a: {link: l, url: sim://}}\nlinks: {l: {url: tcp://x}}", "`url` and `link` exclude each other"),
        (
            "devices: {a: {}}",
            "1:11: devices.a: the key 'url' is missing; write for example `url: tcp://192.168.1.10:502`",
        ),
        (
            "devices: {a: {link: bus}}\nlinks: {bus1: {url: tcp://x}}",
            "a.link: unknown link 'bus'; did you mean 'bus1'?",
        ),
        ("devices: {a: {link: bus}}", "a.link: unknown link 'bus'; there is none"),
        (
            "devices: {a: {link: l, delay: 5ms}}\nlinks: {l: {url: tcp://x}}",
            "a.delay: belongs to the connection: write it at links.l",
        ),
        (
            "devices: {a: {url: sim://}}\nlinks: {a: {url: tcp://x}}",
            "links.a: a device has this name too (plant.yaml:1:11)",
        ),
        ("links: {a: {url: sim://}}", "links.a.url: a simulated PLC belongs to one device"),
        (
            "devices: {a: {url: sim://, accept: any_unit, in_flight: 4}}",
            "can be told apart only with `in_flight: 1`, this is 4",
        ),
        (
            "devices: {a: {link: l, accept: tid_zero}}\nlinks: {l: {url: tcp://x, in_flight: 2}}",
            "a.accept: tid_zero: answers",
        ),
        ("devices: {a: {url: sim://, every: 1ms}}", "a.every: must be at least 10ms, this is 1ms"),
        ("devices: {a: {url: sim://, timeout: 0}}", "a.timeout: must be at least 10ms, this is 0s"),
        ("server: {keepalive: 100ms}", "server.keepalive: must be at least 1s or 0 (off), this is 100ms"),
        (
            "server: {listen: [tcp://0.0.0.0, tcp://0.0.0.0:502]}",
            "server.listen[1]: tcp://0.0.0.0:502 stands here twice",
        ),
        (
            SIM + ", stale_after: 2s, tags: {t: {at: input:0, type: int16, every: 5s}}}}",
            "a.stale_after: 2s is shorter than the interval of t (5s)",
        ),
        (
            SIM + ", stale_after: 2s, every: 3s, poll: [{read: input:0, to: input:0}]}}",
            "a.stale_after: 2s is shorter than the interval of poll[0] (3s)",
        ),
    ],
)
def test_devices_and_links_that_cannot_be(tmp_path: Path, text: str, said: str) -> None:
    told = problems(tmp_path, text)
    assert len(told) == 1
    assert said in told[0]


def test_several_listeners_may_let_the_system_choose_their_port(tmp_path: Path) -> None:
    assert problems(tmp_path, 'server: {listen: ["tcp://127.0.0.1:0", "tcp://127.0.0.1:0"]}') == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (tag("at: holding:0, type: int16"), "plant.yaml:4:5: devices.d.tags: the tag has no `to`: no client can read"),
        (two("at: holding:0, type: int16", "at: holding:0, type: int16"), "devices.d.tags: 2 of 2 tags have no `to`"),
        (
            tag("at: holding:0, type: int16, scale: 0.1, to: input:0"),
            "tags.t.to: the image holds int16: the fraction of the value is lost; `as: float32` keeps it",
        ),
        (tag("at: holding:0, type: float32, as: int32, to: input:0"), "tags.t.as: the image holds int32: the fraction"),
        (
            tag("at: holding:40101, type: int16, to: input:0"),
            "tags.t.at: this is holding:40101 (440102); if the reference 40101 is meant",
        ),
        (tag("at: holding:0, type: int16, to: 1/input:30001"), "tags.t.to: this is input:30001"),
        (
            tag("at: holding:0, type: int16, order: CDAB, to: input:0"),
            "int16 is one register, CDAB swaps whole registers",
        ),
        (tag("at: holding:0..3, type: string, order: CDAB, to: input:0"), "strings are swapped byte-wise only (BADC)"),
        (
            tag("at: holding:0, type: int16, to: 0/input:0"),
            "clients that ask unit 0 get unit 1, unless `units` names 0",
        ),
        (DEVICE, "plant.yaml:2:3: devices.d: nothing is read from this device"),
        ("links: {l: {url: tcp://x}}", "links.l: no device uses this link; write `link: l` at one"),
        ("units: {1: {holding: 40001..49999}}", "if references are meant, write `0..9998`"),
    ],
)
def test_what_is_allowed_and_probably_not_meant_is_a_warning(tmp_path: Path, text: str, said: str) -> None:
    told = warnings(tmp_path, text)
    assert len(told) == 1
    assert said in told[0]


@pytest.mark.skipif(not hasattr(yaml, "CBaseLoader"), reason="YAML in Python takes seven times as long")
def test_ten_thousand_tags_load_in_seconds(tmp_path: Path) -> None:
    lines = ["devices:", "  d:", "    url: tcp://10.0.0.1", "    tags:"]
    lines += [
        f"      t{n}: {{at: holding:{n * 2}, type: float32, order: CDAB, scale: 0.1, unit: bar, "
        f"to: {n // 5000}/input:{n % 5000 * 2}}}"
        for n in range(10_000)
    ]
    path = tmp_path / "plant.yaml"
    path.write_text("\n".join(lines))
    started = time.perf_counter()  # 0.7 s where this was written; the limit is for slow machines
    config = load(path)
    assert len(config.devices["d"].tags) == 10_000
    assert time.perf_counter() - started < 5.0


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ("{at: holding:0, type: uint16, as: bool, to: coils:5}", "uint16 is no bool"),
        ("{at: holding:0, type: float32, no_value: [1e40]}", "float32 never is 1e+40"),
    ],
)
def test_what_can_never_work_is_refused_before_it_runs(tmp_path: Path, tag: str, message: str) -> None:
    path = tmp_path / "plant.yaml"
    path.write_text(f"devices: {{a: {{url: sim://, tags: {{t: {tag}}}}}}}\n")
    with pytest.raises(ConfigError, match=re.escape(message)):
        load(path)


@pytest.mark.parametrize("host", ["plc..local", "x" * 64])
def test_a_host_name_that_no_resolver_takes_is_refused(tmp_path: Path, host: str) -> None:
    path = tmp_path / "plant.yaml"
    path.write_text(f'devices: {{a: {{url: "tcp://{host}:502"}}}}\n')
    with pytest.raises(ConfigError, match="is no host name"):
        load(path)
