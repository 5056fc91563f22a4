"""The state directory: made, locked, and refused with a text that says what to do."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.state.directory import LOCK_NAME, StateDirectory, StateError


@contextmanager
def opened(path: Path) -> Iterator[StateDirectory]:
    directory = StateDirectory(path)
    directory.open()
    try:
        yield directory
    finally:
        directory.close()


def test_it_is_made_with_its_parents_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "var" / "lib" / "state"
    with opened(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert stat.S_IMODE((path / LOCK_NAME).stat().st_mode) == 0o600
        assert (path / LOCK_NAME).read_text() == f"{os.getpid()}\n"


def test_a_second_gateway_is_refused_with_the_process_of_the_first(tmp_path: Path) -> None:
    with opened(tmp_path):
        with pytest.raises(
            StateError, match=rf"in use by another gateway \(process {os.getpid()}\): stop that one, or"
        ):
            StateDirectory(tmp_path).open()
        with pytest.raises(StateError, match=r"in use by another gateway"):  # being refused has released nothing
            StateDirectory(tmp_path).open()


def test_a_first_that_has_not_said_its_process_yet_is_another_gateway_all_the_same(tmp_path: Path) -> None:
    with opened(tmp_path):
        os.truncate(tmp_path / LOCK_NAME, 0)
        with pytest.raises(StateError, match=r"in use by another gateway: stop that one"):
            StateDirectory(tmp_path).open()


def test_after_close_the_next_may_have_it(tmp_path: Path) -> None:
    with opened(tmp_path) as first:
        first.close()
        with opened(tmp_path):
            with pytest.raises(StateError):
                StateDirectory(tmp_path).open()
            first.close()  # a second time: it is not the next one's lock that goes
            with pytest.raises(StateError):
                StateDirectory(tmp_path).open()


def test_the_process_of_a_gateway_that_ended_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).write_text("123456789012\n")
    with opened(tmp_path):
        assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"


def test_a_file_in_its_place_or_above_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("mine")
    for path in (tmp_path / "state", tmp_path / "state" / "below"):
        with pytest.raises(StateError, match=rf"state_dir {path}: there is a file in its place: move it away or name"):
            StateDirectory(path).open()
    assert (tmp_path / "state").read_text() == "mine"


def test_a_link_under_the_name_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    state = tmp_path / "state"
    state.mkdir(0o700)
    (state / LOCK_NAME).symlink_to(victim)
    with pytest.raises(StateError, match=r"its file lock cannot be opened: .* Name a `state_dir` on a local disk"):
        StateDirectory(state).open()
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o720, 0o1777])
def test_one_that_others_may_write_is_warned_of_and_left_as_it_is(
    mode: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tmp_path.chmod(mode)
    with opened(tmp_path):
        assert stat.S_IMODE(tmp_path.stat().st_mode) == mode
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"may be written by other users (mode {mode:04o})" in record.getMessage()
    assert "run `chmod go-w` on it" in record.getMessage()


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o750])
def test_one_that_others_may_at_most_read_needs_no_word(
    mode: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tmp_path.chmod(mode)
    with opened(tmp_path):
        assert not caplog.records
