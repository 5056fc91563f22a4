"""The page under attack, and at its ends: slow senders, large requests, paths that lead out, many who watch, one who
does not read, a port that is in use, a reload, the end."""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.web.viewers import MAX_OF_LOOPBACK
from tests.conftest import Start
from tests.support.needs import require_module
from tests.support.process import Running, running
from tests.support.until import wait_until
from tests.support.web import PAGE, Browser, page_port
from tests.support.wire import Wire

PLANT = """
server: {{listen: "tcp://127.0.0.1:0"}}
web: {{listen: "http://127.0.0.1:{port}"}}
devices:
  mixer:
    url: sim://
    every: 50ms
    tags:
{tags}
"""
TAGS = "\n".join(
    f'      t{number}: {{at: holding:{2 * number}, type: float32, sim: "sine(0, 100, 1s)"}}' for number in range(500)
)


def plant(port: int = 0) -> str:
    return PLANT.format(port=port, tags=TAGS)


@pytest.fixture(scope="module")
def gateway(start: Start) -> Running:
    require_module("uvicorn")
    return start(plant())


@pytest.fixture
def page(gateway: Running) -> Browser:
    return Browser(page_port(gateway))


def raw(port: int, data: bytes) -> bytes:
    """What comes back until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        with contextlib.suppress(OSError):
            sock.sendall(data)
        found = b""
        with contextlib.suppress(OSError):
            while part := sock.recv(65536):
                found += part
        return found


@contextlib.contextmanager
def slow(port: int, count: int, first: bytes = b"GET / HTTP/1.1\r\nHost: x") -> Iterator[list[socket.socket]]:
    """So many connections that never finish a request."""
    found = []
    try:
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", port), timeout=10)
            sock.sendall(first)
            found.append(sock)
        yield found
    finally:
        for sock in found:
            sock.close()


def test_slow_senders_take_nobodys_place(page: Browser) -> None:
    with slow(page.port, 300):
        for _ in range(5):
            assert page.get("/api/session").status == 200
        with page.stream("tags") as stream:
            assert stream.head()[0] == 200
            assert next(data for name, data in stream.events() if name == "tags" and data["changed"])


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", b"400"),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400"),
        (b"".join([b"GET / HTTP/1.1\r\nHost: localhost\r\n", *[b"X: y\r\n"] * 5000, b"\r\n"]), b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100, b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", b"400"),
        (
            b"POST /api/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"40",
        ),
    ],
)
def test_what_is_no_request_is_refused_and_closed(page: Browser, request_bytes: bytes, status: bytes) -> None:
    found = raw(page.port, request_bytes)
    assert found.startswith(b"HTTP/1.1 " + status) or found == b"", found[:100]
    assert page.get("/healthz").status == 200


def test_a_large_body_is_not_read_to_its_end(page: Browser) -> None:
    csrf = page.come()["csrf"].encode()
    head = b"POST /api/logout HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nX-CSRF-Token: " + csrf
    begun_s = time.monotonic()
    found = raw(page.port, head + b"\r\nContent-Length: 999999999\r\n\r\n" + b"x" * 4_000_000)
    assert time.monotonic() - begun_s < 5
    assert found == b"" or b"HTTP/1.1 " in found  # it was answered, and closed although more was to come


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../../etc/passwd",
        "/..%2f..%2f..%2fetc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/....//....//etc/passwd",
        "/index.html%00.js",
        "/static/../api.py",
        "/../api.py",
        "/..%5c..%5capi.py",
        "/.htaccess",
        "/js",
        "/js/",
        "http://evil.example/index.html",
    ],
)
def test_no_path_leads_out(page: Browser, path: str) -> None:
    answer = page.get(path)
    assert answer.status == 404
    assert b"root:" not in answer.body


def test_every_answer_has_the_headers_that_keep_it_ours(page: Browser) -> None:
    for path, headers in (("/", {}), ("/api/session", {}), ("/nothing", {}), ("/", {"Host": "evil.example"})):
        found = page.get(path, headers).headers
        policy = found["content-security-policy"]
        assert policy.startswith("default-src 'self'")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert found["x-content-type-options"] == "nosniff"
        assert found["referrer-policy"] == "no-referrer"
        assert not {name for name in found if name.startswith("access-control") or name == "server"}


REQUESTS = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /api/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n{1}",
    b"GET /api/stream?topics=tags HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /api/units HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
)


def test_mutilated_requests_leave_no_traceback(page: Browser) -> None:
    """What the log must not have is looked for when the gateway ends."""
    chance = random.Random(5)
    for _ in range(300):
        data = bytearray(chance.choice(REQUESTS) * chance.choice((1, 1, 3)))
        for _ in range(chance.randrange(8)):
            at = chance.randrange(len(data))
            data[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(6))
            data = data or bytearray(b"x")
        with socket.create_connection(("127.0.0.1", page.port), timeout=5) as sock, contextlib.suppress(OSError):
            at = chance.randrange(len(data))
            sock.sendall(data[:at])
            sock.sendall(data[at:])
            sock.shutdown(socket.SHUT_WR)
            sock.recv(1000)
    assert page.get("/api/state").json["page"]["bugs"] == 0


# -- viewers -----------------------------------------------------------------------------------------------------------


def test_many_viewers_see_the_same_and_one_beyond_the_share_of_its_address_is_told_so(
    page: Browser, gateway: Running
) -> None:
    wait_until(lambda: page.get("/api/state").json["page"]["viewers"] == 0, what="the end of streams of other tests")
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(page.stream("tags")) for _ in range(MAX_OF_LOOPBACK)]
        assert {stream.head()[0] for stream in streams} == {200}
        found: list[Any] = []
        readers = [threading.Thread(target=lambda stream=stream: found.append(_sets(stream))) for stream in streams]
        for reader in readers:
            reader.start()
        refused = page.get("/api/stream")
        assert (refused.status, refused.headers["retry-after"]) == (503, "10")
        assert refused.json["error"] == "48 pages of 127.0.0.1 are open already: close one of them there"
        assert page.get("/api/state").json["page"]["viewers_crowded"] >= 1
        with Wire(gateway.port) as client:
            assert client.ask(bytes.fromhex("0300000001"))  # who asks for registers is served all the same
        for reader in readers:
            reader.join(20)
        assert len(found) == len(streams)
        first = set(found[0])
        assert all(len(first & set(other)) >= 3 for other in found)  # text made once, for all
    wait_until(lambda: page.get("/api/stream?topics=x").status == 400, what="room again")


def _sets(stream: Any, count: int = 8) -> list[str]:
    sets = []
    for name, data in stream.events(20):
        if name == "tags" and data["changed"]:
            sets.append(str(data))
        if len(sets) == count:
            break
    return sets


def test_a_viewer_that_does_not_read_costs_no_memory_and_is_told_to_load_anew(page: Browser, gateway: Running) -> None:
    with page.stream("state,tags", receive_buffer=4096) as lazy, page.stream("tags") as keen:
        keen.head()
        before = gateway.rss_bytes()
        _sets(keen, 45)  # nine seconds: more than lies on the way, and waits
        assert gateway.rss_bytes() - before < 10_000_000
        assert lazy.head()[0] == 200
        assert next(name for name, _ in lazy.events(20) if name == "resync")


# -- ports, reloads, the end -------------------------------------------------------------------------------------------


def test_a_port_in_use_stops_nobody_and_a_reload_mends_it(tmp_path: Path) -> None:
    require_module("uvicorn")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running(plant(port), tmp_path) as gateway:
            gateway.wait_for_log(rf"ERROR +cannot open the page at http://127.0.0.1:{port}: .*in use.*every 10 s")
            with Wire(gateway.port) as client:
                assert client.ask(bytes.fromhex("0300000001"))
            (tmp_path / "plant.yaml").write_text(plant(), encoding="utf-8")
            gateway.process.send_signal(signal.SIGHUP)
            browser = Browser(page_port(gateway))
            assert browser.get("/readyz").status == 200
            (tmp_path / "plant.yaml").write_text(plant().replace("web:", "x-web:"), encoding="utf-8")
            gateway.process.send_signal(signal.SIGHUP)
            gateway.wait_for_log(f"the page is no longer at http://127.0.0.1:{browser.port}$")
            wait_until(lambda: _is_closed(browser.port), what="the end of the page")


def _is_closed(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return True
    return False


def test_another_port_leaves_those_who_watch_alone(tmp_path: Path) -> None:
    require_module("uvicorn")
    with running(plant(), tmp_path) as gateway:
        browser = Browser(page_port(gateway))
        with browser.stream("tags") as stream:
            stream.head()
            events = stream.events()
            next(events)
            other = plant().replace("http://127.0.0.1:0", "http://localhost:0")
            (tmp_path / "plant.yaml").write_text(other, encoding="utf-8")
            gateway.process.send_signal(signal.SIGHUP)
            wait_until(lambda: gateway.count(PAGE.pattern) >= 2, what="another port")
            assert next(data for name, data in events if name == "tags" and data["changed"])


def test_the_end_comes_at_once_with_open_streams(tmp_path: Path) -> None:
    require_module("uvicorn")
    with running(plant(), tmp_path) as gateway, contextlib.ExitStack() as stack:
        browser = Browser(page_port(gateway))
        streams = [stack.enter_context(browser.stream()) for _ in range(10)]
        assert {stream.head()[0] for stream in streams} == {200}
        stack.enter_context(slow(browser.port, 10))
        begun_s = time.monotonic()
        assert gateway.stop() == 0
        assert time.monotonic() - begun_s < 3
        assert streams[0].socket.recv(1_000_000) is not None
