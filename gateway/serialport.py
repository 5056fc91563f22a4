"""A serial port as an asyncio transport, for lines to devices and for lines on which we are the device.

pyserial (the extra `serial`) knows how each system sets a port; it is imported when the first port is opened. Bytes do
not go through it: on POSIX the loop itself reads and writes the descriptor. Ours and not pymodbus's transport, because
that says neither that it is closing nor stops reading or writing when it is told to, and keeps without a limit what the
port does not take; both sides of us count on what asyncio promises. Windows has no descriptors to wait for: two threads
read and write there (run in our tests on Linux, never yet on Windows).

Opening may hang in a driver, so it has a thread of its own; the loop never waits for a port. An error is an OSError
whose text says what to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import getpass
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

try:
    import fcntl
    import termios
except ImportError:  # Windows
    fcntl = termios = None  # type: ignore[assignment]

MISSING = 'serial lines need pyserial: pip install "gateway[serial]"'
OPEN_TIMEOUT_S = 5.0
"""USB adapters that hang answer, if at all, after the five seconds of a control transfer."""
READ_SIZE = 4096
MAX_UNSENT = 64 * 1024
"""Bytes that the port did not take; a minute at 9600 baud. Who still writes then is cut off."""
HIGH_WATER = 4096
LOW_WATER = 1024
CLOSE_WAIT_S = 1.0
"""So long a port is kept open for what is still to be sent when it is closed."""
CLOSE_LOOK_S = 0.005
THREAD_READ_S = 0.05
"""How long a reading thread waits at once; so long it takes to end."""

P = TypeVar("P", bound=asyncio.Protocol)


class Rs485(NamedTuple):
    """The driver of the system switches the direction of the line with RTS."""

    rts: Literal["high", "low"] = "high"
    """While sending."""
    before_s: float = 0.0
    after_s: float = 0.0


def is_installed() -> bool:
    """Whether ports can be opened."""
    try:
        import serial  # type: ignore[import-untyped]  # noqa: F401
    except ImportError:
        return False
    return True


async def open_port(
    protocol: Callable[[], P],
    path: str,
    *,
    baudrate: int = 19200,
    parity: Literal["none", "even", "odd"] = "even",
    stopbits: int = 1,
    databits: int = 8,
    rs485: Rs485 | None = None,
    threaded: bool = os.name == "nt",
) -> tuple[asyncio.Transport, P]:
    """A port of our own, as `loop.create_connection` gives a connection. OSError when it cannot be opened.

    The protocol hears of `connection_lost` with an OSError when the port vanishes. `threaded`: as on Windows.
    """

    def opened() -> Any:
        return _open(path, baudrate, parity, stopbits, databits, rs485)

    port = await _in_thread(opened, lambda late: late.close(), path)
    try:
        made = protocol()
        transport = _ThreadTransport(port, made) if threaded else _PosixTransport(port, made)
    except BaseException:
        port.close()
        raise
    try:
        await transport.started
    except BaseException:
        transport.abort()
        raise
    return transport, made


def open_blocking(
    path: str,
    *,
    baudrate: int = 19200,
    parity: Literal["none", "even", "odd"] = "even",
    stopbits: int = 1,
    databits: int = 8,
    rs485: Rs485 | None = None,
) -> Any:
    """The same as a port of pyserial, for a program without a loop. OSError says what to do."""
    return _open(path, baudrate, parity, stopbits, databits, rs485)


# -- opening ----------------------------------------------------------------------------------------------------

_opening: set[str] = set()
"""Ports whose driver has not come back yet."""


async def _in_thread(work: Callable[[], Any], undo: Callable[[Any], None], path: str) -> Any:
    """The result of `work()`, which may hang; `undo` what comes when nobody waits any more."""
    if path in _opening:
        raise OSError(errno.EBUSY, f"still being opened: {path}; if that does not end, its driver hangs")
    _opening.add(path)
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def tell(result: Any, error: BaseException | None) -> None:
        _opening.discard(path)
        if done.done():
            if error is None:
                undo(result)
        elif error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as failure:
            error = failure
        try:
            loop.call_soon_threadsafe(tell, result, error)
        except RuntimeError:  # the loop has ended
            _opening.discard(path)
            if error is None:
                undo(result)

    def give_up() -> None:
        if not done.cancel() and not done.cancelled() and done.exception() is None:  # it came in this very moment
            undo(done.result())

    threading.Thread(target=run, name=f"open {path}", daemon=True).start()
    try:
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            return await done
    except TimeoutError:
        give_up()
        raise OSError(errno.ETIMEDOUT, f"its driver hangs: {path} did not open; unplug the adapter") from None
    except asyncio.CancelledError:
        give_up()
        raise


def _open(path: str, baudrate: int, parity: str, stopbits: int, databits: int, rs485: Rs485 | None) -> Any:
    try:
        import serial
    except ImportError:
        raise OSError(MISSING) from None
    if _is_pty(path):
        parity, databits = "none", 8
    port = serial.Serial()
    port.port = path
    port.baudrate, port.bytesize, port.stopbits = baudrate, databits, stopbits
    port.parity = {"none": "N", "even": "E", "odd": "O"}[parity]
    port.timeout, port.write_timeout = THREAD_READ_S, CLOSE_WAIT_S
    if os.name != "nt":  # there a port has one user anyway
        port.exclusive = True
    try:
        port.open()
    except Exception as error:  # termios.error is no OSError
        raise _explained(path, error) from error
    try:
        if rs485 is not None:
            _set_rs485(port, path, rs485)
        if termios is not None:
            _set_for_loop(port.fileno(), has_parity=parity != "none")
    except BaseException:
        port.close()
        raise
    return port


def _is_pty(path: str) -> bool:
    """What stands for a port in a try-out (socat). It has bytes and no bits, and to set it twice to a parity fails."""
    try:
        return os.major(os.stat(path).st_rdev) in range(136, 144)  # Linux: Documentation/admin-guide/devices.txt
    except (OSError, AttributeError):
        return False


def _set_for_loop(descriptor: int, *, has_parity: bool) -> None:
    """A read that finds nothing says so, and an end is an end; no other program may come in between; a byte of the
    wrong parity reads as 0, so that its frame's checksum is wrong, too (ASCII's alone lets one fault in 256 pass)."""
    with contextlib.suppress(termios.error, OSError):  # it may be gone already; the first read will tell
        settings = termios.tcgetattr(descriptor)
        if has_parity:
            settings[0] |= termios.INPCK
        settings[6][termios.VMIN] = 1  # 0, as pyserial has it, reads nothing for both
        settings[6][termios.VTIME] = 0
        termios.tcsetattr(descriptor, termios.TCSANOW, settings)
        fcntl.ioctl(descriptor, termios.TIOCEXCL)


def _set_rs485(port: Any, path: str, rs485: Rs485) -> None:
    try:
        from serial.rs485 import RS485Settings  # type: ignore[import-untyped]

        port.rs485_mode = RS485Settings(
            rts_level_for_tx=rs485.rts == "high",
            rts_level_for_rx=rs485.rts != "high",
            delay_before_tx=rs485.before_s,
            delay_before_rx=rs485.after_s,
        )
    except Exception as error:
        raise OSError(
            errno.ENOTTY,
            f"no RS-485 direction control: the driver of {path} cannot switch it; take `rs485=true` away if the"
            f" adapter switches by itself, as nearly all on USB do ({error})",
        ) from error


def _explained(path: str, error: Exception) -> OSError:
    """The same with a text that says what to do; a reason, a colon, then what differs from time to time."""
    code = getattr(error, "errno", None)
    if code in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        others = ", ".join(_ports()) or "none"
        return FileNotFoundError(code, f"no such port: {path} is not there; plugged in? (there is {others})")
    if code in (errno.EACCES, errno.EPERM):
        user = getpass.getuser() if os.name != "nt" else ""
        return PermissionError(code, f"no right to open it: {path} belongs to {_owner(path)}{_to_join(path, user)}")
    if code in (errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK):
        return OSError(errno.EBUSY, f"in use by another program: {path}{_user_of(path)}")
    return OSError(code or errno.EINVAL, f"cannot be used as a serial port: {path}: {error}")


def _ports() -> list[str]:
    """Those that this machine has and that are more than a name."""
    try:
        from serial.tools.list_ports import comports  # type: ignore[import-untyped]

        return sorted(port.device for port in comports())
    except Exception:  # only a hint; what it reads of the system differs too much to trust it
        return []


def _owner(path: str) -> str:
    with contextlib.suppress(Exception):
        found = Path(path)
        return f"user {found.owner()} and group {found.group()}"
    return "others"


def _to_join(path: str, user: str) -> str:
    """What lets the user in: the group `dialout` (Debian) or `uucp` (Arch) that ports have."""
    with contextlib.suppress(Exception):
        group = Path(path).group()
        if user and group != "root":
            return f"; run `sudo usermod -aG {group} {user}` and start the gateway again"
    return "; on Linux the group `dialout` may usually open ports"


def _user_of(path: str) -> str:
    """` (process 123, mbpoll)` as far as the system lets us see; ourselves, if we are among several."""
    with contextlib.suppress(OSError):
        real = os.path.realpath(path)
        ours = str(os.getpid())
        for process in sorted(Path("/proc").glob("[0-9]*"), key=lambda each: each.name != ours):
            with contextlib.suppress(OSError):
                if any(os.readlink(each) == real for each in process.glob("fd/*")):
                    who = "the gateway itself" if int(process.name) == os.getpid() else f"process {process.name}"
                    return f" ({who}, {(process / 'comm').read_text().strip()})"
    return ""


# -- transports -------------------------------------------------------------------------------------------------


class _Transport(asyncio.Transport):
    """What both kinds have in common: who is told what, and when."""

    def __init__(self, port: Any, protocol: asyncio.Protocol) -> None:
        super().__init__({"path": port.port, "serial": port})
        self._loop = asyncio.get_running_loop()
        self.started: asyncio.Future[None] = self._loop.create_future()
        """The protocol knows of us."""
        self._port = port
        self._protocol = protocol
        self._is_closing = False
        self._is_lost = False
        self._is_paused = False
        self._high, self._low = HIGH_WATER, LOW_WATER
        self._is_writing_paused = False
        self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._protocol.connection_made(self)
        if not self._is_closing:
            self._start()
        if not self.started.done():
            self.started.set_result(None)

    def _start(self) -> None:
        raise NotImplementedError

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def is_closing(self) -> bool:
        return self._is_closing

    def is_reading(self) -> bool:
        return not (self._is_paused or self._is_closing)

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not 0 <= low <= high:
            raise ValueError(f"low {low} is not in 0..{high}")
        self._high, self._low = high, low

    def _review_writing(self) -> None:
        """Tell the protocol when it should stop writing, and when it may go on."""
        size = self.get_write_buffer_size()
        if size > self._high and not self._is_writing_paused:
            self._is_writing_paused = True
            self._protocol.pause_writing()
        elif size <= self._low and self._is_writing_paused:
            self._is_writing_paused = False
            self._protocol.resume_writing()
        if size > MAX_UNSENT:
            self._lose(OSError(errno.ENOBUFS, f"the port takes nothing any more: {size} bytes wait"))

    def abort(self) -> None:
        self._lose(None)

    def _lose(self, error: OSError | None) -> None:
        """The end, whoever wants it. The protocol hears of it in the next turn of the loop, once."""
        if self._is_lost:
            return
        self._is_lost = self._is_closing = True
        self._let_go()
        self._loop.call_soon(self._protocol.connection_lost, error)

    def _let_go(self) -> None:
        raise NotImplementedError

    def __del__(self) -> None:
        if not self._is_lost:  # the loop ended before us
            self._port.close()


def _vanished(port: Any, error: OSError | None = None) -> OSError:
    why = f" ({error.strerror or error})" if error is not None else ""
    return OSError(errno.ENODEV, f"no such port: {port.port} has vanished{why}; unplugged?")


class _PosixTransport(_Transport):
    """The loop reads and writes."""

    def __init__(self, port: Any, protocol: asyncio.Protocol) -> None:
        super().__init__(port, protocol)
        self._descriptor: int = port.fileno()
        self._unsent = bytearray()
        self._close_by_s = 0.0
        self._close_timer: asyncio.TimerHandle | None = None
        self._drops = True
        """What is with the driver and not sent yet is dropped at the end; else the end might wait for it."""

    def _start(self) -> None:
        if not self._is_paused:
            self._loop.add_reader(self._descriptor, self._readable)

    def pause_reading(self) -> None:
        if not self._is_paused and not self._is_closing:
            self._is_paused = True
            self._loop.remove_reader(self._descriptor)

    def resume_reading(self) -> None:
        if self._is_paused and not self._is_closing:
            self._is_paused = False
            self._loop.add_reader(self._descriptor, self._readable)

    def _readable(self) -> None:
        try:
            data = os.read(self._descriptor, READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(_vanished(self._port, error))
            return
        if data:
            self._protocol.data_received(data)
        else:
            self._lose(_vanished(self._port))

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_closing or not data:
            return
        if not self._unsent:
            sent = self._send(data)
            if sent is None or sent == len(data):
                return
            data = memoryview(data)[sent:]
            self._loop.add_writer(self._descriptor, self._writable)
        self._unsent += data
        self._review_writing()

    def _send(self, data: bytes | bytearray | memoryview) -> int | None:
        """How many bytes the port took; None: it is gone."""
        try:
            return os.write(self._descriptor, data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            self._lose(_vanished(self._port, error))
            return None

    def _writable(self) -> None:
        sent = self._send(self._unsent)
        if sent is None:
            return
        del self._unsent[:sent]
        if not self._unsent:
            self._loop.remove_writer(self._descriptor)
        self._review_writing()

    def close(self) -> None:
        """When what was written has left the port, or CLOSE_WAIT_S later; nothing is read any more."""
        if self._is_closing:
            return
        self._is_closing = True
        self._loop.remove_reader(self._descriptor)
        self._close_by_s = self._loop.time() + CLOSE_WAIT_S
        self._close_when_sent()

    def _close_when_sent(self) -> None:
        if self._is_lost:
            return
        try:
            waits = bool(self._unsent or self._port.out_waiting)
        except OSError:
            waits = False
        if waits and self._loop.time() < self._close_by_s:
            self._close_timer = self._loop.call_later(CLOSE_LOOK_S, self._close_when_sent)
        else:
            self._drops = waits
            self._lose(None)

    def _let_go(self) -> None:
        self._loop.remove_reader(self._descriptor)
        self._loop.remove_writer(self._descriptor)
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._unsent.clear()
        if self._drops:
            with contextlib.suppress(OSError, termios.error):
                termios.tcflush(self._descriptor, termios.TCOFLUSH)
        with contextlib.suppress(OSError):
            self._port.close()


class _ThreadTransport(_Transport):
    """Two threads read and write, where the loop cannot."""

    def __init__(self, port: Any, protocol: asyncio.Protocol) -> None:
        super().__init__(port, protocol)
        self._unsent = 0
        self._drops = True
        """As of _PosixTransport."""
        self._to_send: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._may_read = threading.Event()
        self._may_read.set()
        self._reader = threading.Thread(target=self._read, name=f"read {port.port}", daemon=True)

    def _start(self) -> None:
        self._reader.start()
        threading.Thread(target=self._write, name=f"write {self._port.port}", daemon=True).start()

    def pause_reading(self) -> None:
        self._is_paused = True
        self._may_read.clear()

    def resume_reading(self) -> None:
        self._is_paused = False
        self._may_read.set()

    def _read(self) -> None:
        """In its own thread."""
        while not self._is_closing:
            try:
                if data := self._port.read(max(1, min(self._port.in_waiting, READ_SIZE))):
                    self._call(self._received, bytes(data))
            except Exception as error:  # what pyserial raises when a port is closed or gone differs by system
                self._call(self._lose, _vanished(self._port, error if isinstance(error, OSError) else None))
                return
            self._may_read.wait()

    def _write(self) -> None:
        """In its own thread."""
        while (data := self._to_send.get()) is not None:
            try:
                self._port.write(data)
            except Exception as error:
                self._call(self._lose, _vanished(self._port, error if isinstance(error, OSError) else None))
                break
            self._call(self._sent, len(data))
        if not self._is_lost:
            with contextlib.suppress(Exception):
                self._port.flush()
                self._drops = False
        self._call(self._lose, None)

    def _call(self, function: Callable[..., None], argument: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(function, argument)

    def _received(self, data: bytes) -> None:
        if not self._is_closing:
            self._protocol.data_received(data)

    def _sent(self, size: int) -> None:
        self._unsent -= size
        if not self._is_lost:
            self._review_writing()

    def get_write_buffer_size(self) -> int:
        return self._unsent

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_closing or not data:
            return
        self._unsent += len(data)
        self._to_send.put(bytes(data))
        self._review_writing()

    def close(self) -> None:
        """When what was written is with the driver; nothing is read any more."""
        if not self._is_closing:
            self._is_closing = True
            self._may_read.set()
            self._to_send.put(None)

    def _let_go(self) -> None:
        self._may_read.set()
        self._to_send.put(None)
        with contextlib.suppress(Exception):
            self._port.cancel_read()
        threading.Thread(target=self._close_port, name=f"close {self._port.port}", daemon=True).start()

    def _close_port(self) -> None:
        """In its own thread: a reader that is still inside the driver must leave it first."""
        if self._reader.ident is not None:
            self._reader.join(OPEN_TIMEOUT_S)
        if self._drops:
            with contextlib.suppress(Exception):
                self._port.reset_output_buffer()
        with contextlib.suppress(Exception):
            self._port.close()
