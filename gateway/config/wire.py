"""How long frames are on a serial line: the same reckoning for `check`, `plan` and whoever else must know it before.

On other ways a frame takes no time that is worth a word, and all of these are 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # every command imports this, and would wait for pydantic
    from gateway.config.urls import DeviceUrl

_RTU_AROUND = 3
"""Address and CRC around a PDU."""
_ASCII_AROUND = 2
"""Address and LRC; then every byte is two characters, between a colon and CR LF."""
_ASCII_ENDS = 3


def chars(url: DeviceUrl, pdu_size: int) -> int:
    """Characters of one frame on the line."""
    return _ASCII_ENDS + 2 * (pdu_size + _ASCII_AROUND) if url.framing == "ascii" else pdu_size + _RTU_AROUND


def frame_s(url: DeviceUrl, pdu_size: int) -> float:
    """One frame, with the silence that parts it from the one before (RTU)."""
    if url.line is None:
        return 0.0
    gap_s = 0.0 if url.framing == "ascii" else url.line.t35_s
    return chars(url, pdu_size) * url.line.char_s + gap_s


def exchange_s(url: DeviceUrl, request_size: int, answer_size: int) -> float:
    """A request and its answer, both as PDUs; the device takes its own time between them."""
    return frame_s(url, request_size) + frame_s(url, answer_size)
