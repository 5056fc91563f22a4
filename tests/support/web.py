"""A browser without a window: http.client with a cookie, a token, and the page's stream of events."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tests.support.process import Running

PAGE = re.compile(r"the page is at (https?)://(\[[^\]]+\]|[^:]+):(\d+)")
TIMEOUT_S = 10.0


def page_port(running: Running, deadline_s: float = 10.0) -> int:
    """Where the page of a gateway is; its `listen` may have port 0."""
    return int(running.wait_for_log(PAGE.pattern, deadline_s)[3])


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Browser:
    """Asks one page; each request is a connection of its own."""

    def __init__(self, port: int, *, host: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> None:
        self.port = port
        self.host = host
        self.context = context
        self.cookie = ""
        self.csrf = ""

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """`headers` with an empty value are left out."""
        sent = {"Host": f"{self.host}:{self.port}", "Cookie": self.cookie, **(headers or {})}
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            sent = {"Content-Type": "application/json", "Content-Length": str(len(data)), **sent}
        connection = self._connection()
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in sent.items():
                if value:
                    connection.putheader(name, value)
            connection.endheaders(data)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self.ask("GET", path, headers=headers)

    def post(self, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """With the token of the session."""
        return self.ask("POST", path, {} if body is None else body, {"X-CSRF-Token": self.csrf, **(headers or {})})

    def come(self) -> Any:
        """Who we are; the token is kept."""
        found = self.get("/api/session").json
        self.csrf = found["csrf"]
        return found

    def login(self, user: str, password: str) -> Answer:
        """Cookie and token are kept."""
        self.come()
        answer = self.post("/api/login", {"user": user, "password": password})
        if answer.status == 200:
            self.cookie = answer.headers["set-cookie"].partition(";")[0]
            self.csrf = answer.json["csrf"]
        return answer

    def _connection(self) -> http.client.HTTPConnection:
        if self.context is not None:
            return http.client.HTTPSConnection(self.host, self.port, timeout=TIMEOUT_S, context=self.context)
        return http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT_S)

    def stream(self, topics: str = "", *, receive_buffer: int = 0) -> Stream:
        return Stream(self, topics, receive_buffer)


class Stream:
    """`with browser.stream("tags") as stream:` events as they come."""

    def __init__(self, browser: Browser, topics: str, receive_buffer: int = 0) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(TIMEOUT_S)
        self.socket.connect((browser.host, browser.port))
        query = f"?topics={topics}" if topics else ""
        request = f"GET /api/stream{query} HTTP/1.0\r\nHost: {browser.host}\r\n"
        if browser.cookie:
            request += f"Cookie: {browser.cookie}\r\n"
        self.socket.sendall(f"{request}\r\n".encode())
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def head(self) -> tuple[int, dict[str, str]]:
        status = int(self._file.readline().split()[1])
        headers = {}
        while line := self._file.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return status, headers

    def events(self, deadline_s: float = TIMEOUT_S) -> Iterator[tuple[str, Any]]:
        """(name, data) until the stream ends; `head` first. AssertionError: the deadline passed."""
        end_s = time.monotonic() + deadline_s
        name = ""
        for raw in self._file:
            assert time.monotonic() < end_s, "the stream goes on, and what was waited for has not come"
            line = raw.decode().rstrip("\n")
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))
