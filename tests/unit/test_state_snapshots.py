"""Snapshots: whole or not at all, whatever happens to the file and wherever a write is cut short."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.state.snapshots import SnapshotFile

STEPS = ("open", "write", "fsync", "replace")
"""What `write` asks of the system."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "retained-1.bin"


def read(path: Path) -> tuple[bytes | None, list[str]]:
    """What the next process reads."""
    return SnapshotFile(path).read()


def test_nothing_written_is_nothing_and_no_problem(path: Path) -> None:
    assert read(path) == (None, [])


@pytest.mark.parametrize("data", [b"", b"\n", b"gateway snapshot", bytes(range(256)) * 1000])
def test_what_was_written_is_read(data: bytes, path: Path) -> None:
    SnapshotFile(path).write(data)
    assert read(path) == (data, [])


def test_the_one_before_is_kept_for_the_owner_only_and_nothing_else_is_left(path: Path) -> None:
    file = SnapshotFile(path)
    for data in (b"one", b"two", b"three"):
        file.write(data)
    assert read(path) == (b"three", [])
    assert read(file.previous) == (b"two", [])
    assert sorted(path.parent.iterdir()) == [path, file.previous]
    assert {stat.S_IMODE(name.stat().st_mode) for name in path.parent.iterdir()} == {0o600}


def test_every_flipped_bit_is_seen_and_the_older_one_used(path: Path) -> None:
    SnapshotFile(path).write(b"old")
    SnapshotFile(path).write(b"the new one\0\n\xff")
    whole = path.read_bytes()
    for at in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << bit
            path.write_bytes(damaged)
            data, (problem,) = read(path)
            assert data == b"old", (at, bit)
            assert problem.startswith("retained-1.bin is damaged: "), problem


def test_every_length_that_is_not_its_own_is_seen_and_the_older_one_used(path: Path) -> None:
    SnapshotFile(path).write(b"old")
    SnapshotFile(path).write(b"the new one\0\n\xff")
    whole = path.read_bytes()
    for damaged in (*(whole[:size] for size in range(len(whole))), whole + b"\0", whole + whole, b"\0" * len(whole)):
        path.write_bytes(damaged)
        data, (problem,) = read(path)
        assert data == b"old", damaged
        assert problem.startswith("retained-1.bin is damaged: "), problem


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda whole: whole[:-2], "3 bytes are left of 5"),
        (lambda whole: whole[:-1] + b"!", "its checksum does not fit"),
        (lambda whole: whole.replace(b"snapshot 1", b"snapshot 7"), "its format is 7, this gateway knows 1"),
        (lambda whole: b"", "it has no header of a snapshot"),
        (lambda whole: bytes(len(whole)), "it has no header of a snapshot"),
    ],
)
def test_damage_is_told_in_words(change: Callable[[bytes], bytes], told: str, path: Path) -> None:
    SnapshotFile(path).write(b"hello")
    path.write_bytes(change(path.read_bytes()))
    assert read(path) == (None, [f"retained-1.bin is damaged: {told}"])


def test_two_damaged_ones_are_nothing_and_two_problems(path: Path) -> None:
    file = SnapshotFile(path)
    file.write(b"one")
    file.write(b"two")
    path.write_bytes(b"")
    file.previous.write_bytes(b"")
    data, problems = read(path)
    assert data is None
    assert [problem.split()[0] for problem in problems] == ["retained-1.bin", "retained-1.bin.previous"]


def test_a_file_that_cannot_be_read_is_a_problem_and_the_older_one_used(path: Path) -> None:
    file = SnapshotFile(path)
    file.write(b"one")
    file.write(b"two")
    path.unlink()
    path.mkdir()
    assert read(path) == (b"one", ["retained-1.bin cannot be read: Is a directory"])


@pytest.mark.parametrize("looks_first", [True, False])
def test_a_damaged_one_does_not_push_the_older_out(looks_first: bool, path: Path) -> None:
    SnapshotFile(path).write(b"one")
    SnapshotFile(path).write(b"two")
    path.write_bytes(b"damaged")
    file = SnapshotFile(path)
    if looks_first:
        assert file.read()[0] == b"one"
    file.write(b"three")
    assert read(path) == (b"three", [])
    assert read(file.previous) == (b"one", [])


def test_what_a_cut_write_left_behind_is_no_problem_and_used_only_if_it_is_whole(path: Path) -> None:
    SnapshotFile(path).write(b"one")
    SnapshotFile(path).write(b"two")
    rest = path.with_name(path.name + ".new")
    rest.write_bytes(path.read_bytes()[:-1])
    assert read(path) == (b"two", [])
    os.replace(path, rest)  # as between the two renames
    assert read(path) == (b"two", [])
    assert not rest.exists()  # it was finished: the next write may be cut short, too
    assert path.exists()
    assert read(path.with_name(path.name + ".previous")) == (b"one", [])


class Cut(BaseException):
    """The power is cut: nothing after this happens but what Python does by itself."""


class System:
    """Counts the steps of `write` and calls `fail` at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, fail: Callable[[], None], after: bool) -> None:
        self.names: list[str] = []
        for name in STEPS:
            monkeypatch.setattr(os, name, self._step(name, getattr(os, name), at, fail, after))

    def _step(
        self, name: str, real: Callable[..., Any], at: int, fail: Callable[[], None], after: bool
    ) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            self.names.append(name)
            is_mine = len(self.names) == at
            if is_mine and not after:
                fail()
            result = real(*arguments, **options)
            if is_mine and after:
                fail()
            return result

        return step


def cut() -> None:
    raise Cut


def full() -> None:
    raise OSError(28, "No space left on device")


def steps_of_a_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    file = SnapshotFile(path)
    file.write(b"a")
    with monkeypatch.context() as patched:
        system = System(patched, 0, cut, after=False)
        file.write(b"b")
    return system.names


def test_the_file_is_on_the_disk_before_it_gets_the_name_and_the_name_before_write_returns(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert steps_of_a_write(path, monkeypatch) == [
        *("open", "write", "fsync"),  # the file
        *("replace", "replace"),
        *("open", "fsync"),  # its directory
    ]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("fail", [cut, full])
def test_wherever_a_write_ends_the_old_or_the_new_is_read_and_the_next_write_succeeds(
    fail: Callable[[], None], after: bool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_afterwards = []
    for at in range(1, 1 + len(steps_of_a_write(path.with_name("another"), monkeypatch))):
        file = SnapshotFile(path)
        file.write(b"older")
        file.write(b"old")
        with monkeypatch.context() as patched:
            System(patched, at, fail, after)
            with pytest.raises((Cut, OSError)):
                file.write(b"new")
        data, problems = read(path)
        assert data in (b"old", b"new"), at
        assert not problems, at
        read_afterwards.append(data)
        for successor in (file, SnapshotFile(path)):  # this process, and the next
            successor.write(b"newer")
            assert read(path) == (b"newer", []), at
            assert read(file.previous)[0] is not None, at
    assert read_afterwards == sorted(read_afterwards, key=[b"old", b"new"].index)  # from one step on it is the new one
    assert read_afterwards[-1] == b"new"


def test_a_cut_while_the_rest_of_another_cut_is_there_loses_nothing_that_was_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in range(1, 8):
        SnapshotFile(path).write(b"old")
        with monkeypatch.context() as patched:
            System(patched, 4, cut, after=True)  # between the two renames
            with pytest.raises(Cut):
                SnapshotFile(path).write(b"new")
        file = SnapshotFile(path)
        assert file.read() == (b"new", [])
        with monkeypatch.context() as patched:
            System(patched, at, cut, after=False)
            with pytest.raises(Cut):
                file.write(b"newer")
        assert read(path)[0] in (b"new", b"newer"), at


def test_a_link_under_the_name_of_the_new_file_is_not_followed(path: Path) -> None:
    victim = path.with_name("victim")
    victim.write_bytes(b"mine")
    path.with_name(path.name + ".new").symlink_to(victim)
    SnapshotFile(path).write(b"data")
    assert victim.read_bytes() == b"mine"
    assert read(path) == (b"data", [])
