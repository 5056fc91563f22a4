"""What goes to devices (writes through, tags, pushes, watchdogs) and their addresses: each rule with its plant."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from tests.support.config.plants import plant, problems, warnings

DEVICE = (
    "units: {1: {holding: 0..999, coils: 100, discrete: 100, input: 0..99}}\ndevices:\n  d:\n    url: tcp://10.0.0.1\n"
)
GOOD_TAG = "at: holding:50, type: int16, to: input:50"
SEVERAL = "[tcp://10.0.0.1, tcp://10.0.0.2]"


def device(*lines: str) -> str:
    return DEVICE + "".join(f"    {line}\n" for line in lines)


def tag(text: str) -> str:
    return device(f"tags: {{t: {{{text}}}}}")


def poll(text: str) -> str:
    return device(f"poll: [{{{text}}}]")


def push(text: str) -> str:
    return device(f"push: [{{{text}}}]")


def test_every_key_arrives(tmp_path: Path) -> None:
    text = """
    units: {1: {holding: 0..999}}
    devices:
      d:
        url: [tcp://10.0.0.1, tcp://10.0.0.2:503]
        prefer: any
        force_multiple: true
        watchdog: {write: holding:99}
        poll: [{read: holding:0..9, to: holding:0, write: through, latest_only: true, verify: 1s}]
        push: [{write: holding:200..209, from: holding:300, on: change, every: 10s}]
        tags: {t: {at: holding:20, type: int16, to: holding:20, write: true, range: [-1.5, 10], verify: 500ms}}
        faults: {refuse: {"holding:10..12": 2, 40021: 0x0B}, no_functions: [5, 0x16], busy: 7, late_by: 3s}
    """
    config = plant(tmp_path, text)
    assert config.warnings == ()
    one = config.devices["d"]
    assert [str(url) for url in one.urls] == ["tcp://10.0.0.1:502", "tcp://10.0.0.2:503"]
    assert one.url == one.urls[0]
    assert config.link_key("d") == "tcp://10.0.0.1:502|tcp://10.0.0.2:503"
    assert (config.link_of("d").urls, config.link_of("d").prefer) == (one.urls, "any")
    assert one.force_multiple
    assert one.watchdog is not None
    assert (one.watchdog.write.first, one.watchdog.every_s) == (99, 1.0)
    assert (one.poll[0].write, one.poll[0].latest_only, one.poll[0].verify_s) == ("through", True, 1.0)
    sent = one.push[0]
    assert (sent.write.count, sent.from_.address.first, sent.on, sent.every_s) == (10, 300, "change", 10.0)
    assert (one.tags["t"].write, one.tags["t"].range) == (True, (Fraction(-3, 2), Fraction(10)))
    assert one.faults is not None
    assert [(address.describe(), code) for address, code in one.faults.refuse] == [
        ("holding:10..12 (400011..400013)", 2),
        ("holding:20 (400021)", 11),
    ]
    assert (one.faults.no_functions, one.faults.busy, one.faults.late_by_s) == ((5, 22), 7, 3.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            poll("read: input:0..9, to: holding:0, write: through"),
            "5:53: devices.d.poll[0].write: input:0..9 (300001..300010) cannot be written in any device; remove",
        ),
        (
            poll("read: holding:0..9, to: input:0, write: through"),
            "5:37: devices.d.poll[0].to: clients can write holding and coils only, this is input:0 (300001): "
            "`write` needs it in holding, not in input",
        ),
        (
            poll("read: coils:0, to: discrete:0, write: through"),
            "poll[0].to: clients can write holding and coils only, this is discrete:0 (100001): "
            "`write` needs it in coils, not in discrete",
        ),
        (poll("read: coils:0, to: input:0, write: through"), "poll[0].to: a poll copies bits as they are"),
        (poll("read: holding:0, to: holding:0, write: true"), "5:52: devices.d.poll[0].write: unknown value 'true'"),
        (
            poll("read: holding:0, to: holding:0, latest_only: true"),
            "5:45: devices.d.poll[0].latest_only: does nothing without `write: through`; add that, or remove the key",
        ),
        (poll("read: holding:0, to: holding:0, verify: 0s"), "poll[0].verify: does nothing without `write: through`"),
        (
            poll("read: holding:0, to: holding:0, write: through, verify: 5ms"),
            "5:69: devices.d.poll[0].verify: must be at least 10ms, this is 5ms",
        ),
        (
            tag("at: input:0, type: int16, to: holding:0, write: true"),
            "5:64: devices.d.tags.t.write: input:0 (300001) cannot be written in any device; remove `write`",
        ),
        (tag("at: discrete:0, type: bool, to: coils:0, write: true"), "discrete:0 (100001) cannot be written in any"),
        (
            tag("at: holding:0, type: int16, write: true"),
            "5:51: devices.d.tags.t.write: without `to` there is nothing that clients could write; "
            "add for example `to: 1/holding:220`",
        ),
        (
            tag("at: holding:0, type: int16, to: input:0, write: true"),
            "5:48: devices.d.tags.t.to: clients can write holding and coils only, this is input:0 (300001): "
            "`write` needs it in holding, not in input",
        ),
        (tag("at: coils:0, type: bool, to: discrete:0, write: true"), "`write` needs it in coils, not in discrete"),
        (tag("at: coils:0, type: bool, as: int16, to: holding:0, write: true"), "t.as: a bool that is shown as int16"),
        (tag(GOOD_TAG + ", range: [0, 1]"), "5:59: devices.d.tags.t.range: does nothing without `write: true`"),
        (tag(GOOD_TAG + ", latest_only: yes"), "t.latest_only: does nothing without `write: true`"),
        (tag(GOOD_TAG + ", verify: 1s"), "t.verify: does nothing without `write: true`"),
        (tag("at: holding:0, type: int16, to: holding:0, write: true, verify: 0"), "t.verify: must be at least 10ms"),
        (
            tag("at: coils:0, type: bool, to: coils:0, write: true, range: [0, 1]"),
            "5:67: devices.d.tags.t.range: a bool is no number; remove the key",
        ),
        (
            tag("at: holding:0..3, type: string, to: holding:0, write: true, range: [0, 1]"),
            "t.range: a string is no number; remove the key",
        ),
        (
            tag("at: holding:0, type: int16, to: holding:0, write: true, range: [5, 1]"),
            "t.range: the least value comes first: write `[1, 5]`",
        ),
        (
            tag("at: holding:0, type: int16, to: holding:0, write: true, range: 5"),
            "t.range: expected the least and the greatest value, such as `[0, 100]`",
        ),
        (
            tag("at: holding:0, type: int16, to: holding:0, write: true, range: [1, 2, 3]"),
            "t.range: expected the least and the greatest value, such as `[0, 100]`",
        ),
        (
            tag("at: holding:0, type: int16, to: holding:0, write: true, range: [0, many]"),
            "t.range: `many` is not a number",
        ),
        (
            push("write: input:0, from: input:0, on: change"),
            "5:20: devices.d.push[0].write: input:0 (300001) cannot be written in any device; "
            "write to holding or coils",
        ),
        (
            push("write: holding:0.3, from: holding:0, on: change"),
            "push[0].write: a push writes whole registers: write `holding:0`",
        ),
        (
            push("write: holding:0..9, from: coils:0, on: change"),
            "5:40: devices.d.push[0].from: a push copies registers as they are, from holding or input; "
            "this is coils:0 (000001)",
        ),
        (push("write: coils:0..9, from: holding:0, on: change"), "push[0].from: a push copies bits as they are, from"),
        (
            push("write: holding:0, from: holding:0.3, on: change"),
            "from: a push copies whole registers, this is the bit",
        ),
        (push("write: holding:0..9, from: holding:0..5, on: change"), "the push has 10 registers, this range has 6"),
        (push("write: holding:0..9, from: 2/holding:65530, on: change"), "it runs past 65535, the end of the table"),
        (
            push("write: holding:0..123, from: holding:0, on: change"),
            "5:20: devices.d.push[0].write: is 124 registers in one request, one request writes at most 123 registers; "
            "split it into several pushes",
        ),
        (
            device("max_registers: 8", "push: [{write: holding:0..9, from: holding:0, on: change}]"),
            "6:20: devices.d.push[0].write: is 10 registers in one request, `max_registers` of the device is 8; split",
        ),
        (
            push("write: coils:0..1968, from: 2/coils:0, on: change").replace("1: {", "2: {coils: 5000}, 1: {"),
            "is 1969 coils in one request, one request writes at most 1968 coils; split",
        ),
        (
            device("max_bits: 8", "push: [{write: coils:0..9, from: coils:0, on: change}]"),
            "is 10 coils in one request, `max_bits` of the device is 8; split",
        ),
        (
            push("write: holding:0, from: holding:0"),
            "5:12: devices.d.push[0]: nothing says when: add `on: change`, `every: 10s`, or both",
        ),
        (push("write: holding:0, from: holding:0, every: 5ms"), "push[0].every: must be at least 10ms, this is 5ms"),
        (push("write: holding:0, from: holding:0, on: chnge"), "unknown value 'chnge'; did you mean 'change'?"),
        (push("write: holding:0, on: change"), "push[0]: the key 'from' is missing; write for example `from: 1/hold"),
        (
            push("write: holding:0..9, from: holding:995, on: change"),
            "5:40: devices.d.push[0].from: there is no 1/holding:995..1004 (400996..401005), or not all of it; "
            "the unit declares holding: 0..999 (plant.yaml:1:22)",
        ),
        (
            push("write: holding:0..9, from: 2/holding:5, on: change"),
            "push[0].from: there is no 2/holding:5..14 (400006..400015), or not all of it; "
            "declare it: `units: {2: {holding: 0..999}}`",
        ),
        (
            device("watchdog: {write: coils:5}"),
            "5:23: devices.d.watchdog.write: a watchdog counts in one whole holding register, such as `holding:99`; "
            "this is coils:5 (000006)",
        ),
        (device("watchdog: {write: holding:5.3}"), "watchdog.write: a watchdog counts in one whole holding register"),
        (device("watchdog: {write: holding:5..6}"), "watchdog.write: a watchdog counts in one whole holding register"),
        (
            device("watchdog: {write: holding:5, every: 50ms}"),
            "5:41: devices.d.watchdog.every: must be at least 100ms, this is 50ms",
        ),
        (device("watchdog: {every: 1s}"), "5:5: devices.d.watchdog: the key 'write' is missing; write for example"),
        (
            device("faults: {busy: -1}"),
            "5:20: devices.d.faults.busy: counts requests: 0 (never) to 1000000, this is -1",
        ),
        (device("faults: {late: 1s}"), "devices.d.faults.late: `1s` is not a whole number"),
        (device("faults: {bussy: 1}"), "5:14: devices.d.faults.bussy: unknown key 'bussy'; did you mean 'busy'?"),
        (device("faults: {refuse: 2}"), "faults.refuse: expected a mapping of addresses to exception codes"),
        (device('faults: {refuse: {"holdin:1": 2}}'), "5:23: devices.d.faults.refuse.holdin:1: unknown table 'holdin'"),
        (
            device('faults: {refuse: {"holding:1": 256}}'),
            "5:36: devices.d.faults.refuse.holding:1: 256 is not an exception code; those are 1..255",
        ),
        (device('faults: {refuse: {"holding:1.3": 2}}'), "registers are refused as a whole: write `holding:1`"),
        (device("faults: {no_functions: 0}"), "faults.no_functions: 0 is not a function code; those are 1..127"),
        (device("faults: {max_registers: 126}"), "faults.max_registers: must be at most 125, this is 126"),
        (
            device("prefer: first", f"tags: {{t: {{{GOOD_TAG}}}}}"),
            "5:5: devices.d.prefer: is for several addresses, and there is one; remove the key",
        ),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, text: str, said: str) -> None:
    told = problems(tmp_path, text)
    assert len(told) == 1
    assert said in told[0]


@pytest.mark.parametrize(
    "text",
    [
        poll("read: coils:0..9, to: coils:0, write: through, latest_only: true, verify: 10ms"),
        tag("at: holding:0.3, type: bool, to: coils:0, write: true, verify: 1s"),
        tag("at: holding:0, type: bool, to: holding:0.3, write: true"),
        tag("at: holding:0..3, type: string, to: holding:0, write: true"),
        tag("at: holding:0, type: int16, scale: 0.1, as: float32, to: holding:0, write: true, range: [1/3, 1e3]"),
        tag("at: holding:0, type: float32, as: raw, to: holding:0, write: true"),
        push("write: holding:0..122, from: holding:0..122, every: 10ms"),
        push("write: coils:0..9, from: coils:90, on: change"),
        device(
            "poll: [{read: coils:0..9, to: 3/discrete:0}]",
            "push: [{write: coils:10..19, from: 3/discrete:0, on: change}]",
        ),
        device("watchdog: {write: holding:5, every: 100ms}", "force_multiple: true"),
        device(f"tags: {{t: {{{GOOD_TAG}}}}}", "faults: ", "accept: []"),
        f"devices: {{d: {{url: {SEVERAL}, prefer: any, watchdog: {{write: holding:0}}}}}}",
    ],
)
def test_what_can_be_written(tmp_path: Path, text: str) -> None:
    assert warnings(tmp_path, text) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            tag("at: holding:0, type: int16, to: holding:0, write: true, range: [40000, 50000]"),
            "5:72: devices.d.tags.t.range: int16 holds -32768..32767: nothing in this range can be written",
        ),
        (
            tag("at: holding:0, type: int16, scale: 0.1, as: float32, to: holding:0, write: true, range: [-9e9, -9e8]"),
            "t.range: int16 with this scale holds -3276.8..3276.7: nothing in this range can be written",
        ),
        (
            tag("at: holding:0, type: uint16, scale: -1, as: int32, to: holding:0, write: true, range: [1, 9]"),
            "t.range: uint16 with this scale holds -65535..0: nothing in this range can be written",
        ),
        (
            tag("at: holding:0, type: int32, as: uint16, to: holding:0, write: true, range: [-9, -1]"),
            "t.range: clients write uint16, which holds 0..65535: nothing in this range can be written",
        ),
        (
            device(
                "poll: [{read: holding:0..9, to: holding:0, write: through}]",
                "push: [{write: holding:9, from: holding:300, on: change}]",
            ),
            "6:20: devices.d.push[0].write: devices.d.poll[0] (plant.yaml:5:55) writes the same of the device: "
            "the last one wins",
        ),
        (
            device(
                "push: [{write: holding:0..9, from: holding:300, on: change}]",
                "tags: {t: {at: holding:8, type: float32, to: holding:0, write: true}}",
            ),
            "5:20: devices.d.push[0].write: devices.d.tags.t (plant.yaml:6:68) writes the same of the device",
        ),
        (
            device("push: [{write: holding:0..9, from: holding:300, on: change}]", "watchdog: {write: holding:5}"),
            "6:23: devices.d.watchdog.write: devices.d.push[0] (plant.yaml:5:20) writes the same of the device",
        ),
        (
            push("write: holding:0..9, from: holding:300, on: change}, {write: holding:5, from: holding:0, every: 1s"),
            "5:74: devices.d.push[1].write: devices.d.push[0] (plant.yaml:5:20) writes the same of the device",
        ),
        (
            device(
                "poll: [{read: holding:0..9, to: holding:0}]",
                "push: [{write: holding:5..14, from: holding:5, on: change}]",
            ),
            "6:41: devices.d.push[0].from: devices.d.poll[0] (plant.yaml:5:37) fills it from the same registers of "
            "the device: they would be written back",
        ),
        (
            device(
                "push: [{write: holding:8..9, from: holding:0, on: change}]",
                "tags: {t: {at: holding:8, type: float32, to: holding:0}}",
            ),
            "5:40: devices.d.push[0].from: devices.d.tags.t (plant.yaml:6:50) fills it from the same registers",
        ),
        (
            push("write: holding:0, from: input:5, on: change"),
            "5:37: devices.d.push[0].from: clients cannot write 1/input:5 (300006), and nothing is mapped to all of it"
            ": this never sends anything",
        ),
        (push("write: holding:40101, from: holding:0, on: change"), "push[0].write: this is holding:40101 (440102)"),
        (device("watchdog: {write: holding:40101}"), "watchdog.write: this is holding:40101 (440102)"),
    ],
)
def test_what_is_probably_not_meant(tmp_path: Path, text: str, said: str) -> None:
    told = warnings(tmp_path, text)
    assert len(told) == 1
    assert said in told[0]


@pytest.mark.parametrize(
    "text",
    [
        # The same registers of another device, or others of this one, are no loop.
        device(
            "poll: [{read: holding:0..9, to: holding:0}]", "push: [{write: holding:20, from: holding:5, on: change}]"
        ),
        device(
            "poll: [{read: holding:0..9, to: holding:0}]",
            "push: [{write: coils:0, from: coils:0, on: change}]",
            "watchdog: {write: holding:20}",
        ),
        device("push: [{write: holding:5, from: holding:5, on: change}]")
        + "  e: {url: tcp://10.0.0.2, poll: [{read: holding:0..9, to: holding:0}]}\n",
        # What is polled but not written is nobody else's to write.
        device(
            "poll: [{read: holding:0..9, to: holding:0}]", "push: [{write: holding:5, from: holding:300, on: change}]"
        ),
    ],
)
def test_what_only_looks_like_a_loop(tmp_path: Path, text: str) -> None:
    assert warnings(tmp_path, text) == []


def test_initial_values_count_as_written(tmp_path: Path) -> None:
    text = push("write: holding:0..1, from: input:5, on: change").replace(
        "input: 0..99}", 'input: 0..99, initial: {"input:5": [1, 2]}}'
    )
    assert warnings(tmp_path, text) == []


def test_pushes_behind_a_wrong_one_keep_their_numbers(tmp_path: Path) -> None:
    text = device(
        "push:",
        "  - {write: nothing, from: holding:0, on: change}",
        "  - {write: holding:0, from: coils:0, on: change}",
        "  - {write: holding:0, from: holding:0}",
    )
    told = problems(tmp_path, text)
    assert [line.split(": ")[0] + " " + line.split(": ")[1] for line in told] == [
        "plant.yaml:6:17 devices.d.push[0].write",
        "plant.yaml:7:34 devices.d.push[1].from",
        "plant.yaml:8:9 devices.d.push[2]",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("devices: {a: {url: []}}", "1:15: devices.a.url: the list is empty; write a URL"),
        (
            "devices: {a: {url: [tcp://x, sim://]}}",
            "1:30: devices.a.url[1]: a simulated PLC has no second address: write `url: sim://` alone",
        ),
        ("devices: {a: {url: [sim://, tcp://x]}}", "1:21: devices.a.url[0]: a simulated PLC has no second address"),
        ("devices: {a: {url: [tcp://x, tcp://x:502]}}", "1:30: devices.a.url[1]: tcp://x:502 stands here twice"),
        ("devices: {a: {url: [tcp://x, y]}}", "1:30: devices.a.url[1]: `y` is not a URL"),
        ("links: {a: {url: [tcp://x, tcp://x]}}", "1:28: links.a.url[1]: tcp://x:502 stands here twice"),
        ("links: {a: {url: [tcp://x, sim://]}}", "1:28: links.a.url[1]: a simulated PLC has no second address"),
        ("links: {a: {url: tcp://x, prefer: any}}", "1:27: links.a.prefer: is for several addresses, and there is one"),
        ("links: {a: {url: []}}", "1:13: links.a.url: the list is empty"),
        ("devices: {a: {url: sim://, prefer: last}}", "a.prefer: unknown value 'last'; choose from any, first"),
        (
            f"devices: {{a: {{link: l, prefer: any}}}}\nlinks: {{l: {{url: {SEVERAL}}}}}",
            "1:24: devices.a.prefer: belongs to the connection: write it at links.l",
        ),
        (
            f"devices: {{a: {{url: {SEVERAL}}}, b: {{url: {SEVERAL}, prefer: any}}}}",
            "devices.b.prefer: devices with the same url share one connection: 'prefer' is any here and first for a",
        ),
    ],
)
def test_several_addresses_that_cannot_be(tmp_path: Path, text: str, said: str) -> None:
    told = problems(tmp_path, text)
    assert len(told) == 1
    assert said in told[0]


def with_poll(url: str, place: int) -> str:
    return f"{{url: {url}, poll: [{{read: holding:0, to: holding:{place}}}]}}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f"devices:\n  a: {with_poll(SEVERAL, 0)}\n  b: {with_poll('tcp://10.0.0.2', 1)}\n",
            "3:12: devices.b.url: a (plant.yaml:2:7) has this url in another list; each opens a connection of its own: "
            "write the same list in both to share one",
        ),
        (
            f"devices:\n  a: {with_poll(SEVERAL, 0)}\n  b: {with_poll('[tcp://10.0.0.2, tcp://10.0.0.1]', 1)}\n",
            "devices.b.url: a (plant.yaml:2:7) has one of these addresses in another list",
        ),
        (
            f"devices:\n  a: {with_poll('tcp://10.0.0.2', 0)}\n  b: {{link: l, tags: {{t: {{{GOOD_TAG}}}}}}}\n"
            f"links: {{l: {{url: {SEVERAL}}}}}\n",
            "2:12: devices.a.url: links.l has this url too; each opens a connection of its own: write `link: l`",
        ),
        (
            f"units: {{5: {{forward: k}}, 6: {{forward: l}}}}\n"
            f"links: {{k: {{url: tcp://10.0.0.1}}, l: {{url: {SEVERAL}}}}}\n",
            "links.l.url: the link 'k' has one of these addresses too; each opens a connection of its own",
        ),
    ],
)
def test_two_connections_to_one_host_are_a_warning(tmp_path: Path, text: str, said: str) -> None:
    told = warnings(tmp_path, text)
    assert len(told) == 1
    assert said in told[0]


def test_devices_with_the_same_list_share_one_connection(tmp_path: Path) -> None:
    text = f"devices:\n  a: {with_poll(SEVERAL, 0)}\n  b: {with_poll(SEVERAL, 1)}\n  c: {with_poll(SEVERAL, 2)}\n"
    config = plant(tmp_path, text)
    assert config.warnings == ()
    assert {config.link_key(name) for name in "abc"} == {"tcp://10.0.0.1:502|tcp://10.0.0.2:502"}
