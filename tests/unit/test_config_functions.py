"""Files, queues, function 07, and the limits of clients and of the audit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.config.plants import plant, problems, warnings

DEVICE = """
devices:
  a:
    url: tcp://h
    tags:
      t: {at: holding:0, type: int16, to: 1/input:5}
      u: {at: holding:1, type: int16, to: 3/holding:5}
      v: {at: holding:2, type: int16, to: 1/holding:90}
"""


def unit(keys: str) -> str:
    return f"units: {{1: {{holding: 0..99, coils: 0..9, {keys}}}, 2: {{forward: a}}}}{DEVICE}"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("files: {0: {}}", "units.1.files.0: `0` is not a file number; those are 1..65535, such as 4"),
        ("files: {4: {records: 10001}}", "units.1.files.4.records: must be at most 10000, this is 10001"),
        ("files: {4: {path: ../x.dat}}", "files.4.path: `../x.dat` leads out of `state_dir` or into a folder of it"),
        ("files: {4: {path: /etc/passwd}}", "write a name alone: `passwd`"),
        ("files: {4: {path: a b}}", "`a b` cannot name a file here: use letters, digits"),
        ("files: {4: {path: lock}}", "`lock` is a name of the gateway's own files in `state_dir`; choose another"),
        ("files: {4: {path: retained-1.bin}}", "is a name of the gateway's own files"),
        ("files: {4: {path: audit.jsonl}}", "audit (plant.yaml:"),
        (
            "files: {4: {path: a.dat}, 5: {path: A.dat}}",
            "files.5.path: units.1.files.4 (plant.yaml:1:60) has the file A.dat already",
        ),
        (
            "files: {4: , 5: {path: file-1-4.dat}}",
            "units.1.files.4 (plant.yaml:1:50) has the file file-1-4.dat already",
        ),
        ("fifo: {coils:3: {}}", "fifo.coils:3: `coils:3`: a queue begins at one holding register"),
        ("fifo: {holding:5: {size: 32}}", "fifo.holding:5.size: must be at most 31, this is 32"),
        (
            "fifo: {holding:95: {size: 9}}",
            "fifo.holding:95: needs holding:95..104 (400096..400105), with all it has room for; "
            "the unit declares holding: 0..99",
        ),
        ("fifo: {holding:65530: {}}", "it counts in holding:65530 (465531) and needs 31 registers behind that"),
        (
            "fifo: {holding:0: {size: 5}, holding:5: {size: 5}}",
            "fifo.holding:5: holding:5..10 (400006..400011) overlap with another queue (plant.yaml:1:49)",
        ),
        (
            "fifo: {holding:0: {size: 5}, 40001: }",
            "fifo.40001: holding:0 (400001) has a queue already (plant.yaml:1:49)",
        ),
        ("fifo: {holding:85: {size: 9}}", "holding:85..94 (400086..400095) are its own, and devices.a.tags.v (plant"),
        ("fifo: {holding:0: {from: coils:3}}", "from: a queue takes the changes of one register; this is coils:3"),
        ("fifo: {holding:0: {from: 2/holding:3}}", "from: unit 2 is forwarded (plant.yaml:1:"),
        ("fifo: {holding:0: {from: 9/holding:3}}", "there is no 9/holding:3 (400004); nothing is declared or mapped"),
        ("fifo: {holding:0: {from: 1/holding:3}}", "holding:3 (400004) is one of the queue's own"),
        (
            "fifo: {holding:0: {from: 1/input:5, size: 4}, holding:10: {from: 1/holding:4}}",
            "holding:10.from: holding:4 (400005) lies in a queue that we fill (plant.yaml:1:49); name what",
        ),
        (
            'initial: {"holding:3": 1}, fifo: {holding:0: {from: 1/input:5}}',
            "with `from` the queue begins empty; holding:0..31 (400001..400032) have no `initial`",
        ),
        ("exception_status: coils:5", "unit 1 has no coils:5..12 (000006..000013), or not all of it"),
        ("exception_status: coils:0..3", "these are 4 bits, function 07 tells 8; the first is enough"),
        (
            "exception_status: holding:5.3",
            "the low byte of one register is told, such as `holding:5`; this is holding:5.3",
        ),
        ("exception_status: input:6", "unit 1 has no input:6 (300007); nothing is declared or mapped there"),
        (
            "initial: {holding:0: 1, 40001: 2}",
            "initial: `holding:0` and `40001` are both holding:0 (400001); remove one",
        ),
    ],
)
def test_what_a_unit_cannot_have(tmp_path: Path, keys: str, said: str) -> None:
    (told,) = problems(tmp_path, unit(keys))
    assert said in told


def test_a_queue_needs_declared_registers(tmp_path: Path) -> None:
    (told,) = problems(tmp_path, "units: {1: {fifo: {holding:10: {size: 4}}}}")
    assert "needs holding:10..14 (400011..400015) in unit 1; declare the table: `holding: 0..999`" in told


@pytest.mark.parametrize(
    "keys",
    [
        "files: {4: {records: 1000, path: recipes.dat}, 5: , 65535: {read_only: true}}",
        "fifo: {holding:0: , 40041: {from: 1/input:5, size: 10}, holding:60: {from: 3/holding:5, size: 2}}",
        'initial: {"holding:3": 1}, fifo: {holding:0: {size: 5}}',
        "exception_status: coils:2",
        "exception_status: holding:5",
        "exception_status: input:5",
    ],
)
def test_what_a_unit_may_have(tmp_path: Path, keys: str) -> None:
    assert warnings(tmp_path, unit(keys)) == []


def test_files_have_names(tmp_path: Path) -> None:
    files = plant(tmp_path, unit("files: {4: {path: recipes.dat}, 5: }")).units[1].files
    assert [file.name(1, number) for number, file in files.items()] == ["recipes.dat", "file-1-5.dat"]


def test_all_mistakes_of_files_come_at_once(tmp_path: Path) -> None:
    told = problems(tmp_path, unit("files: {0: {}, 4: {path: ../x}, 5: {recrds: 4}}, fifo: {holding:0: {size: 99}}"))
    assert [line.split(": ")[1] for line in told] == [
        "units.1.files.0",
        "units.1.files.4.path",
        "units.1.files.5.recrds",
        "units.1.fifo.holding:0.size",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("server: {limits: {half_request: 10ms}}", "half_request: must be at least 100ms or 0 (off), this is 10ms"),
        ("server: {limits: {half_request: 2h}}", "half_request: must be at most 1h, this is 2h"),
        ("server: {limits: {bytes_waiting: 512B}}", "bytes_waiting: must be at least 1KiB, this is 512B"),
        ("server: {limits: {bytes_waiting: 1GB}}", "bytes_waiting: must be at most 16MiB, this is 1GB"),
        ("server: {limits: {bytes_waiting: 64}}", "a size needs its unit: `64B`, `64KB` or `64MB`"),
        ("server: {limits: {requests_per_second: -1}}", "requests_per_second: must be at least 0, this is -1"),
        ("server: {limits: {request_per_second: 5}}", "did you mean 'requests_per_second'?"),
        ("audit: {max_size: 100B}", "audit.max_size: must be at least 4KiB, this is 100B"),
        ("audit: {max_size: ten}", "`ten` is not a size: write a number with B, KB, MB"),
        ("audit: {path: logs/audit.jsonl}", "audit.path: `logs/audit.jsonl` leads out of `state_dir`"),
        ("audit: {enable: false}", "unknown key 'enable'; did you mean 'enabled'?"),
    ],
)
def test_limits_that_cannot_be_meant(tmp_path: Path, text: str, said: str) -> None:
    (told,) = problems(tmp_path, text)
    assert said in told


def test_more_from_one_address_than_from_all_is_a_warning(tmp_path: Path) -> None:
    (told,) = warnings(tmp_path, "server: {max_connections: 10, limits: {connections_per_address: 11}}")
    assert "connections_per_address: all clients together are at most 10 (`max_connections`)" in told


def test_defaults_are_safe(tmp_path: Path) -> None:
    config = plant(tmp_path, "units: {1: {holding: 1}}")
    limits = config.server.limits
    assert (limits.half_request_s, limits.bytes_waiting) == (5.0, 65536)
    assert (config.audit.enabled, config.audit.path, config.audit.keep) == (True, "audit.jsonl", 10)
