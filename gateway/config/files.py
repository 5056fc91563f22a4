"""Bytes of a file -> text, or one good message why not."""

from __future__ import annotations

from pathlib import Path

from gateway.config.tree import Findings, Mark

MAX_FILE_BYTES = 64 * 1024 * 1024
"""Of one file: some 600,000 tags. What is larger was named by mistake (a log, a disk)."""


def read_text(path: Path, findings: Findings, asked: Mark | None = None) -> str | None:
    """The text of a UTF-8 file, without a byte order mark; None after a finding. `asked` is the place that names the
    file, when a file does; a file that cannot be read is a mistake there."""
    shown = str(path)
    place = asked or Mark(shown, 1, 1)
    what = f"{shown}: " if asked else ""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        findings.error_at(place, (), f"{what}there is no such file")
        return None
    except IsADirectoryError:
        findings.error_at(place, (), f"{what}this is a directory; name the file in it, such as `{path / 'plant.yaml'}`")
        return None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if path.is_dir():  # Windows says "permission denied"
            reason = f"this is a directory; name the file in it, such as `{path / 'plant.yaml'}`"
        else:
            reason = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        findings.error_at(place, (), what + reason)
        return None
    if len(data) > MAX_FILE_BYTES:
        findings.error_at(place, (), f"{what}is larger than {MAX_FILE_BYTES >> 20} MiB; this is no configuration")
        return None
    return _decode(data, shown, findings)


def _decode(data: bytes, shown: str, findings: Findings) -> str | None:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        findings.error_at(Mark(shown, 1, 1), (), "is UTF-16; save it as UTF-8")
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # With utf-8-sig the position may count without the mark; three bytes do not change the line.
        before = data[: error.start]
        line_start = before.rfind(b"\n") + 1
        column = len(before[line_start:].decode("utf-8", "replace")) + 1
        byte = data[error.start]
        mark = Mark(shown, before.count(b"\n") + 1, column)
        findings.error_at(mark, (), f"is not UTF-8: byte 0x{byte:02X}; save the file as UTF-8")
        return None
