"""The control socket and its client over real Unix sockets: every line gets its answer, and the loop stays free."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.control import path as control_path
from gateway.control.client import ask
from gateway.control.path import SOCKET_NAME, ControlError
from gateway.control.socket import MAX_CLIENTS, MAX_LINE, Command, ControlSocket

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")

SNAPSHOT = {"gateway": {"version": "1.0"}, "links": [{"name": "a"}], "devices": [], "routes": []}


def refuse(request: dict[str, Any]) -> None:
    raise ControlError("not now")


def broken(request: dict[str, Any]) -> None:
    raise ZeroDivisionError


async def later(request: dict[str, Any]) -> str:
    await asyncio.sleep(0)
    return "done"


COMMANDS: dict[str, Command] = {
    "status": lambda request: SNAPSHOT,
    "echo": lambda request: request,
    "list": lambda request: {"items": iter([1, {"a": None}]), "none": iter(()), "plain": [2]},
    "later": later,
    "refuse": refuse,
    "broken": broken,
}


@asynccontextmanager
async def serving(
    directory: Path, commands: Mapping[str, Command] = COMMANDS, **settings: Any
) -> AsyncIterator[ControlSocket]:
    served = ControlSocket(directory, commands, **settings)
    await served.open()
    try:
        yield served
    finally:
        await served.close()


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(directory: Path) -> Connection:
    return await asyncio.open_unix_connection(directory / SOCKET_NAME, limit=64 * 1024 * 1024)


async def exchange(connection: Connection, line: bytes) -> Any:
    reader, writer = connection
    writer.write(line + b"\n")
    async with asyncio.timeout(5):
        return json.loads(await reader.readline())


def run(test: Callable[[], Any]) -> None:
    asyncio.run(test())


def test_a_command_is_answered_on_one_line(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path):
            connection = await connect(tmp_path)
            assert await exchange(connection, b'{"command": "status"}') == {"ok": True, "result": SNAPSHOT}
            assert await exchange(connection, b'{"command": "later"}') == {"ok": True, "result": "done"}
            asked = {"command": "echo", "more": [1]}
            assert await exchange(connection, json.dumps(asked).encode()) == {"ok": True, "result": asked}
            connection[1].close()

    run(test)


def test_lists_that_are_made_bit_by_bit_arrive_as_lists(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path):
            connection = await connect(tmp_path)
            answer = await exchange(connection, b'{"command": "list"}')
            assert answer["result"] == {"items": [1, {"a": None}], "none": [], "plain": [2]}
            connection[1].close()

    run(test)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"", "this is no JSON"),
        (b"status", "this is no JSON: status"),
        (b"\xff\x00", "this is no JSON"),
        (b"[" * 10_000, "this is no JSON"),
        (b"[1]", 'a request is an object such as {"command": "status"}, not [1]'),
        (b"{}", "no `command`; there is: broken, echo, later, list, refuse, status"),
        (b'{"command": "stauts"}', 'there is no command "stauts"; there is: broken, '),
        (b'{"command": ["status"]}', 'there is no command ["status"]; there is: '),
        (b'{"command": "refuse"}', "not now"),
        (b'{"command": "broken"}', "a bug in the gateway"),
        (b'"' + b"x" * MAX_LINE + b'"', f"a request has {MAX_LINE} bytes at most"),
        (b'"' + b"x" * 10 * MAX_LINE + b'"', f"a request has {MAX_LINE} bytes at most"),
    ],
)
def test_a_bad_line_gets_an_error_and_the_next_one_its_answer(tmp_path: Path, line: bytes, error: str) -> None:
    async def test() -> None:
        async with serving(tmp_path):
            connection = await connect(tmp_path)
            connection[1].write(line + b'\n{"command": "echo", "number": 2}\n')
            async with asyncio.timeout(5):
                first, second = [json.loads(await connection[0].readline()) for _ in range(2)]
            assert first["ok"] is False
            assert error in first["error"]
            assert second == {"ok": True, "result": {"command": "echo", "number": 2}}
            connection[1].close()

    run(test)


def test_a_line_may_come_in_pieces_and_several_in_one(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path):
            reader, writer = await connect(tmp_path)
            for byte in b'{"command": "later"}\n{"command"':
                writer.write(bytes((byte,)))
                await asyncio.sleep(0)
            writer.write(b': "status"}\n{"command": "later"}\n')
            async with asyncio.timeout(5):
                answers = [json.loads(await reader.readline())["result"] for _ in range(3)]
            assert answers == ["done", SNAPSHOT, "done"]
            writer.close()

    run(test)


def test_the_socket_is_its_owners_alone_and_goes_with_the_gateway(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path) as served:
            mode = os.stat(served.path).st_mode
            assert stat.S_ISSOCK(mode)
            assert stat.S_IMODE(mode) == 0o600
        assert not served.path.exists()
        await served.close()  # harmless

    run(test)


def test_what_a_dead_gateway_left_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / SOCKET_NAME))

    async def test() -> None:
        async with serving(tmp_path):
            connection = await connect(tmp_path)
            assert (await exchange(connection, b'{"command": "status"}'))["ok"]
            connection[1].close()

    run(test)


def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / SOCKET_NAME).write_text("mine")

    async def test() -> None:
        with pytest.raises(ControlError, match="is no socket"):
            await ControlSocket(tmp_path, COMMANDS).open()

    run(test)
    assert (tmp_path / SOCKET_NAME).read_text() == "mine"


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    async def test() -> None:
        with pytest.raises(ControlError, match="cannot open the control socket"):
            await ControlSocket(tmp_path / "none", COMMANDS).open()

    run(test)


def long_directory(tmp_path: Path) -> Path:
    directory = tmp_path / ("a" * 100) / ("b" * 100)
    directory.mkdir(parents=True)
    return directory


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_a_path_longer_than_a_sockets_address_works(tmp_path: Path) -> None:
    directory = long_directory(tmp_path)

    async def test() -> None:
        async with serving(directory) as served:
            assert stat.S_IMODE(os.stat(served.path).st_mode) == 0o600
            assert await asyncio.to_thread(ask, directory, "later") == "done"
        assert not served.path.exists()

    run(test)


def test_a_path_that_is_too_long_for_the_system_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_path, "_DESCRIPTORS", tmp_path / "none")
    directory = long_directory(tmp_path)

    async def test() -> None:
        with pytest.raises(ControlError, match="choose a shorter `state_dir`"):
            await ControlSocket(directory, COMMANDS).open()

    run(test)


def test_where_there_are_no_unix_sockets_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        with pytest.raises(ControlError, match="this system has no Unix sockets"):
            await ControlSocket(tmp_path, COMMANDS).open()

    async def main() -> None:  # the loop itself wants AF_UNIX, so it is taken away inside of it
        with monkeypatch.context() as patched:
            patched.delattr(socket, "AF_UNIX")
            await test()

    run(main)
    monkeypatch.delattr(socket, "AF_UNIX")
    with pytest.raises(ControlError, match="cannot be asked"):
        ask(tmp_path, "status")


def test_one_client_too_many_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path):
            connections = [await connect(tmp_path) for _ in range(MAX_CLIENTS)]
            for connection in connections:
                assert (await exchange(connection, b'{"command": "later"}'))["ok"]
            with pytest.raises(ControlError, match=f"{MAX_CLIENTS} clients are connected already"):
                await asyncio.to_thread(ask, tmp_path, "status")
            connections.pop()[1].close()
            async with asyncio.timeout(5):
                while True:
                    try:
                        assert await asyncio.to_thread(ask, tmp_path, "status") == SNAPSHOT
                        break
                    except ControlError:  # the one that left has not been seen leaving yet
                        continue
            for connection in connections:
                assert (await exchange(connection, b'{"command": "later"}'))["ok"]
                connection[1].close()

    run(test)


def test_a_client_that_says_nothing_is_dropped(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path, idle_s=0.05):
            reader, writer = await connect(tmp_path)
            writer.write(b'{"command": ')  # half a line is nothing
            async with asyncio.timeout(5):
                assert await reader.read() == b""
            writer.close()

    run(test)


def test_a_client_that_does_not_take_its_answer_is_dropped(tmp_path: Path) -> None:
    async def test() -> None:
        big: dict[str, Command] = {"big": lambda request: "x" * 10_000_000}
        async with serving(tmp_path, big, idle_s=0.2):
            with socket.socket(socket.AF_UNIX) as client:
                client.setblocking(False)
                client.connect(str(tmp_path / SOCKET_NAME))
                await asyncio.get_running_loop().sock_sendall(client, b'{"command": "big"}\n')
                async with asyncio.timeout(5):
                    while not closed_by_peer(client):
                        await asyncio.sleep(0.01)

    run(test)


def closed_by_peer(client: socket.socket) -> bool:
    """Whether the other end is gone, found out without taking what it sent."""
    try:
        client.send(b"\n")
    except (BrokenPipeError, ConnectionResetError):
        return True
    except BlockingIOError:
        return False
    return False


def test_closing_ends_clients_that_wait(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path):
            reader, writer = await connect(tmp_path)
            assert (await exchange((reader, writer), b'{"command": "later"}'))["ok"]
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()

    run(test)


# -- how long it holds the loop -----------------------------------------------------------------------------------

DEVICES = 1000
JOBS = 5
MAX_GAP_S = 0.02
"""A whole answer encoded at once takes twice that, on a machine that has nothing else to do."""


def devices() -> Iterator[dict[str, Any]]:
    for number in range(DEVICES):
        job = {"block": "holding:0..49 (400001..400050)", "every_s": 0.1, "requested_per_s": 10.0, "error": ""}
        job |= {"achieved_per_s": 9.98765, "lag_s": 0.001234, "took_s": 0.0023451, "overload_percent": 12.5}
        made = {"name": f"device{number}", "link": "tcp://192.168.1.10:502", "unit": number % 247, "state": "good"}
        yield {**made, "jobs": [{**job, "age_s": 0.1, "skipped": 0} for _ in range(JOBS)], "holes": []}


def test_an_answer_about_a_thousand_devices_does_not_hold_the_loop(tmp_path: Path) -> None:
    async def longest_gap(answer: asyncio.Task[Any]) -> float:
        """The longest that anybody had to wait for the loop, until `answer` was there."""
        longest_s, turns = 0.0, 0
        while not answer.done():
            before_s = time.perf_counter()
            await asyncio.sleep(0)
            longest_s = max(longest_s, time.perf_counter() - before_s)
            turns += 1
        assert turns > 20, "others had their turn"
        return longest_s

    async def test() -> None:
        async with serving(tmp_path, {"status": lambda request: {"devices": devices()}}):
            reader, writer = await connect(tmp_path)
            gaps = []
            for _ in range(3):  # the machine may have been busy once; not the best of three
                writer.write(b'{"command": "status"}\n')
                # Read by a plain loop of bytes: parsing two megabytes would hold the loop here, in the test.
                answer = asyncio.create_task(reader.readline())
                gaps.append(await longest_gap(answer))
            assert min(gaps) < MAX_GAP_S, f"longest gaps of three answers: {gaps}"
            result = json.loads(answer.result())["result"]
            assert [device["name"] for device in result["devices"]] == [f"device{number}" for number in range(DEVICES)]
            writer.close()

    run(test)


# -- the client ---------------------------------------------------------------------------------------------------


def test_without_a_gateway_the_client_says_what_to_do(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "none"):
        with pytest.raises(ControlError, match=r"no gateway is running with the state directory .*--state-dir"):
            ask(directory, "status")


def test_a_dead_gateways_socket_is_told_apart(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / SOCKET_NAME))
    with pytest.raises(ControlError, match=r"no gateway is running .*the last one ended without tidying up"):
        ask(tmp_path, "status")


def test_a_socket_that_is_not_ours_says_whose_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def may_not(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("gateway.control.client._exchange", may_not)  # root, who may run this test, may do all
    with pytest.raises(ControlError, match="permission denied; only the user who runs the gateway may ask it"):
        ask(tmp_path, "status")


def test_a_gateway_that_hangs_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / SOCKET_NAME))
        deaf.listen()
        with pytest.raises(ControlError, match=r"does not answer within 0\.1 s: it is stopped or overloaded"):
            ask(tmp_path, "status", timeout_s=0.1)


def test_a_refusal_reaches_the_caller(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path):
            with pytest.raises(ControlError, match="the gateway refused: not now"):
                await asyncio.to_thread(ask, tmp_path, "refuse")
            assert await asyncio.to_thread(ask, tmp_path, "echo") == {"command": "echo"}

    run(test)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", "closed the connection"),
        (b"{", "closed the connection"),
        (b"hello\n", "no gateway of this version"),
        (b"[]\n", "no gateway of this version"),
        (b'{"ok": true}\n', "no gateway of this version"),
    ],
)
def test_what_is_no_answer_is_told(tmp_path: Path, answer: bytes, error: str) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    async def test() -> None:
        async with await asyncio.start_unix_server(speak, tmp_path / SOCKET_NAME):
            with pytest.raises(ControlError, match=error):
                await asyncio.to_thread(ask, tmp_path, "status")

    run(test)
