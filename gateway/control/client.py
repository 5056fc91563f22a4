"""Ask a running gateway through its control socket. Synchronous: for commands that ask once and end."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.control.path import SOCKET_NAME, ControlError, address_of

CONNECT_S = 2.0
"""A gateway whose loop runs accepts at once."""
ANSWER_S = 10.0
"""For the whole answer; 1,000 devices take a tenth of a second."""
MAX_ANSWER_BYTES = 256 * 1024 * 1024
"""Fifty times the answer of a plant of 5,000 devices: what is longer is not ours."""
WAIT_STEP_S = 0.1
"""How often whoever waits is asked whether he still does."""
_CHUNK_BYTES = 1024 * 1024

Waiting = Callable[[float], None]
"""Called with the seconds since the question while no answer has come; what it raises ends the asking."""


class NoAnswer(ControlError):
    """It is there and says nothing in time: to ask it once more would only take as long again."""


def ask(
    state_dir: Path, command: str, *, timeout_s: float = ANSWER_S, waiting: Waiting | None = None, **arguments: Any
) -> Any:
    """The result of `command` of the gateway that runs with `state_dir`. Raises ControlError with what to do."""
    if not hasattr(socket, "AF_UNIX"):
        raise ControlError("this system has no Unix sockets: a running gateway cannot be asked")
    path = state_dir / SOCKET_NAME
    request = json.dumps({"command": command, **arguments}).encode() + b"\n"
    try:
        line = _exchange(path, request, timeout_s, waiting)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ControlError(
            f"no gateway is running with the state directory {state_dir}: there is no {SOCKET_NAME} in it; "
            "name the plant's file or say --state-dir"
        ) from error
    except ConnectionRefusedError as error:
        raise ControlError(
            f"no gateway is running with the state directory {state_dir}: the last one ended without tidying up, its "
            f"{SOCKET_NAME} answers nobody"
        ) from error
    except PermissionError as error:
        raise ControlError(f"{path}: permission denied{_owner(state_dir)}") from error
    except (TimeoutError, BlockingIOError) as error:  # the latter: its queue of connections is full, nobody accepts
        raise NoAnswer(
            f"the gateway at {path} does not answer within {timeout_s:g} s: it is stopped or overloaded"
        ) from error
    except OSError as error:
        raise ControlError(f"{path}: {error.strerror or error}") from error
    return _result(path, line)


def _exchange(path: Path, request: bytes, timeout_s: float, waiting: Waiting | None) -> bytes:
    """The line that answers `request`."""
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as connection:
        connection.settimeout(min(CONNECT_S, timeout_s))
        with address_of(path) as address:
            connection.connect(address)
        begun_s = time.monotonic()
        end_s = begun_s + timeout_s
        # A refusal (too many clients) may come, and the connection be closed, before the request was taken.
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(request)
        answer = bytearray()
        while not answer.endswith(b"\n"):
            left_s = max(0.001, end_s - time.monotonic())
            connection.settimeout(left_s if waiting is None else min(left_s, WAIT_STEP_S))
            try:
                received = connection.recv(_CHUNK_BYTES)
            except TimeoutError:
                if waiting is None or time.monotonic() >= end_s:
                    raise
                waiting(time.monotonic() - begun_s)
                continue
            if not received:
                raise ControlError(f"{path}: the gateway closed the connection; perhaps it is just stopping")
            answer += received
            if len(answer) > MAX_ANSWER_BYTES:
                raise ControlError(f"{path}: more than {MAX_ANSWER_BYTES} bytes came: that is no gateway")
        return bytes(answer)


def _result(path: Path, line: bytes) -> Any:
    try:
        answer = json.loads(line)
        ok = answer["ok"]
        return answer["result"] if ok is True else _raise(str(answer["error"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ControlError(f"{path}: what answers there is no gateway of this version") from error


def _raise(why: str) -> None:
    raise ControlError(f"the gateway refused: {why}")


def _owner(state_dir: Path) -> str:
    """Who may, if that can be found out."""
    try:
        import pwd

        name = pwd.getpwuid(os.stat(state_dir).st_uid).pw_name
    except (ImportError, KeyError, OSError):
        return "; only the user who runs the gateway may ask it"
    return f"; only the user who runs the gateway may ask it: sudo -u {name} gateway ..."
