"""What commands give out: standard output that may be closed, and files that may be there already.

Two rules, each for all commands. Who closes standard output (`| head -1`) ends a command quietly, with the exit code
that a shell gives to a program that SIGPIPE has ended; it is none of ours, as nobody knows what the command would have
come to. A file that is there is written over with --force only, and one that the command was given to read never.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn

import typer

from gateway.cli.progress import clear_line

if TYPE_CHECKING:
    from rich.console import Console

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_CLOSED = 141
"""128 + SIGPIPE."""
WIDTH_OF_FILES = 400
"""Where there is no terminal: no line of a table is broken."""


def fail(message: str, code: int = EXIT_FAILED) -> NoReturn:
    """End the command with one line."""
    clear_line()
    print(message, file=sys.stderr)
    raise typer.Exit(code)


# -- standard output ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def ended_by_closed_stdout() -> Iterator[None]:
    """What is printed inside may meet a pipe that nobody reads any more: that ends the command with EXIT_CLOSED."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not nobody_reads():
            raise  # another pipe's
        forget_output()
        raise typer.Exit(EXIT_CLOSED) from None


def forget_output() -> None:
    """What is left in buffers would be written, and fail, once more at the end of the process."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def nobody_reads() -> bool:
    """The other end of a pipe is closed: nothing need be found out for it, although there is nothing to write yet."""
    if not hasattr(select, "poll"):
        return False
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), select.POLLERR)
        return any(events & select.POLLERR for _, events in poll.poll(0))
    except (OSError, ValueError):
        return False


def page_console() -> Console:
    """rich's, for tables: names are data, not markup."""
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            """rich would end the process with 1."""
            raise BrokenPipeError

    width = None if sys.stdout.isatty() else WIDTH_OF_FILES
    return Plain(highlight=False, markup=False, emoji=False, width=width)


# -- files ----------------------------------------------------------------------------------------------------------


def check_target(path: Path, *, force: bool, inputs: Iterable[Path] = ()) -> None:
    """Ends the command when `path` must not or cannot be written; before any work is done. `inputs`: what the command
    reads. A pipe or device that is there may be written at all times."""
    if path.is_dir():
        fail(f"{path} cannot be written: it is a directory", EXIT_USAGE)
    if path.exists():
        for other in inputs:
            if other.exists() and path.samefile(other):
                fail(f"{path} is a file that is read for this, such as the plant's: name another", EXIT_USAGE)
        if path.is_file() and not force:
            fail(f"{path} is there already; --force writes over it", EXIT_USAGE)
    elif not path.parent.is_dir():
        fail(f"{path} cannot be written: there is no directory {path.parent}", EXIT_USAGE)
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        fail(f"{path} cannot be written: permission denied", EXIT_USAGE)


def plant_files(file: Path | None) -> tuple[Path, ...]:
    """A plant's file with all that it includes, also of a plant with mistakes."""
    from gateway.config.load import load_files
    from gateway.errors import ConfigError

    if file is None:
        return ()
    try:
        _, files = load_files(file)
    except ConfigError as error:
        files = error.files
    return (file, *files)


def open_target(path: Path, *, force: bool) -> BinaryIO:
    """For bytes as they come, after `check_target`; ends the command when it cannot be."""
    try:
        return open(path, "wb" if force or not path.is_file() else "xb", buffering=0)
    except FileExistsError:
        fail(f"{path} is there already; --force writes over it", EXIT_USAGE)
    except OSError as error:
        fail(f"{path} cannot be written: {error.strerror or error}")


def write_target(path: Path, data: bytes, *, force: bool) -> None:
    """All of it or, of a new file, nothing; ends the command when it cannot be."""
    is_new = not path.exists()
    with open_target(path, force=force) as file:
        try:
            written = 0
            while written < len(data):
                written += file.write(data[written:])
        except OSError as error:
            if is_new:
                with contextlib.suppress(OSError):
                    path.unlink()
            fail(f"{path} cannot be written: {error.strerror or error}")
