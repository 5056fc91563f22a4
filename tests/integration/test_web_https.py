"""The page over https: its own certificate or the plant's, cookies that only https carries, a certificate renewed."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config.passwords import make_password
from gateway.tls.certs import Authority
from tests.support.needs import require_module
from tests.support.process import Running, running
from tests.support.until import wait_until
from tests.support.web import Browser, page_port

PLANT = """
server: {{listen: "tcp://127.0.0.1:0"}}
web:
  listen: https://127.0.0.1:0
  tls: {{cert: page.pem, key: page.key}}
  users: {{anna: {{password: "{password}", role: engineer}}}}
devices:
  mixer: {{url: "sim://", tags: {{level: {{at: "holding:0", type: int16}}}}}}
"""
WORD = "correct-horse"


def made(folder: Path) -> Authority:
    folder.mkdir()
    authority = Authority(folder)
    authority.make(["127.0.0.1", "localhost"], ["operator"])
    return authority


def install(authority: Authority, folder: Path) -> None:
    for suffix, path in (("pem", authority.cert("server")), ("key", authority.key("server"))):
        new = folder / f"page.{suffix}.new"
        shutil.copy(path, new)
        os.chmod(new, 0o600)
        new.rename(folder / f"page.{suffix}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("https")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return made(folder / "certs")


@pytest.fixture(scope="module")
def gateway(folder: Path, authority: Authority) -> Iterator[Running]:
    require_module("uvicorn")
    install(authority, folder)
    with running(PLANT.format(password=make_password(WORD)), folder) as found:
        yield found


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.cert("ca")))


@pytest.fixture
def browser(gateway: Running, authority: Authority) -> Browser:
    return Browser(page_port(gateway), context=trusting(authority))


def test_a_session_over_https_has_a_cookie_that_nothing_else_carries(browser: Browser) -> None:
    answer = browser.login("anna", WORD)
    assert answer.status == 200, answer.body
    cookie = answer.headers["set-cookie"]
    assert re.match(r"__Host-gateway-\d+=", cookie)
    assert {"Secure", "HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert browser.get("/api/tags").status == 200
    assert browser.get("/").status == 200


def test_who_does_not_shake_hands_takes_nobodys_place(browser: Browser, gateway: Running) -> None:
    idle = [socket.create_connection(("127.0.0.1", browser.port)) for _ in range(200)]
    try:
        assert browser.get("/healthz").status == 200
        with socket.create_connection(("127.0.0.1", browser.port), timeout=5) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"HTTP" not in plain.recv(1000)
        assert browser.get("/healthz").status == 200
        assert len(os.listdir(f"/proc/{gateway.process.pid}/fd")) < 200
    finally:
        for sock in idle:
            sock.close()


def test_old_versions_of_tls_are_not_spoken(browser: Browser, authority: Authority) -> None:
    context = trusting(authority)
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        Browser(browser.port, context=context).get("/healthz")


def test_a_renewed_certificate_needs_no_restart(gateway: Running, folder: Path, tmp_path: Path) -> None:
    other = made(tmp_path / "certs")
    install(other, folder)
    browser = Browser(page_port(gateway), context=trusting(other))

    def is_taken() -> bool:
        try:
            return browser.get("/healthz").status == 200
        except ssl.SSLError:
            return False

    wait_until(is_taken, what="the new certificate")


def test_a_missing_certificate_is_told_before_anything_is_opened(tmp_path: Path) -> None:
    require_module("uvicorn")
    from gateway.config.load import load
    from gateway.config.needs import errors, unmet

    path = tmp_path / "plant.yaml"
    path.write_text(PLANT.format(password=make_password(WORD)), encoding="utf-8")
    told = [str(problem) for problem in errors(unmet(load(path)))]
    assert any(":5:15: web.tls.cert: " in line and "there is no such file" in line for line in told), told
