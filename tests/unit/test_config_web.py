"""The section `web`: what may be written there, and what is told of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import needs
from gateway.config.load import load
from gateway.config.model import Config
from gateway.config.page import is_loopback, parse_web_url
from gateway.config.passwords import LOG2_N, MAX_PASSWORD, P, R, make_password, parse_password
from gateway.errors import ConfigError

TEXT = "scrypt:15:8:3:NSmeH_kBXyNBsHxBeh0XyQ:6Pa8z6aJEEGO2hhfFqttstJwl-u5xEoFyW8WsAFcKb8"
USERS = f'users: {{anna: {{password: "{TEXT}", role: operator}}}}'


def plant(tmp_path: Path, web: str, more: str = "") -> Config:
    path = tmp_path / "plant.yaml"
    path.write_text(f"web: {{{web}}}\n{more}", encoding="utf-8")
    return load(path)


def mistakes(tmp_path: Path, web: str, more: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        plant(tmp_path, web, more)
    return "\n".join(str(problem) for problem in caught.value.problems)


def test_without_the_section_there_is_no_page(tmp_path: Path) -> None:
    path = tmp_path / "plant.yaml"
    path.write_text("server: {}\n", encoding="utf-8")
    assert load(path).web is None


def test_the_defaults_are_for_this_machine_alone(tmp_path: Path) -> None:
    web = plant(tmp_path, "").web
    assert web is not None
    assert str(web.listen) == "http://127.0.0.1:8080"
    assert web.listen.is_loopback
    assert (web.session_s, web.trend_s, web.users) == (43200.0, 3600.0, {})
    assert (web.metrics.open, web.metrics.tags) == (True, False)


@pytest.mark.parametrize(
    ("web", "more", "told"),
    [
        ("listen: http://0.0.0.0:8080", "", "1:15: web.listen: http://0.0.0.0:8080 can be reached from other machines"),
        ("listen: http://gateway:8080", "", "without `users` nobody is asked who he is"),
        ("listen: http://127.0.0.1:502", "", "Modbus clients ask us"),
        ("listen: https://127.0.0.1", "", "https:// needs a certificate"),
        ("listen: 127.0.0.1:8080", "", "write `http://127.0.0.1:8080`"),
        ("listen: http://127.0.0.1:8080/page", "", "without a path"),
        ('listen: "http://*:8080"', "", "write `http://0.0.0.0`"),
        ("listen: ftp://127.0.0.1", "", "there is `http://` and `https://`"),
        ("listen: http://127.0.0.1:99999", "", "ports are 1..65535"),
        ('listen: "http://[::x]:80"', "", "IPv6"),
        ("tls: {cert: a, key: b}", "", "is for `https://`"),
        ("session: 10s", "", "must be at least 1m"),
        ("session: 31d", "", "must be at most 30d"),
        ("trend: 8d", "", "must be at most 7d"),
        ("hosts: [http://a]", "", "is no host name"),
        ("users: {anna: {password: hunter2hunter2}}", "", "is not what `gateway passwd` prints"),
        ("users: {anna: {}}", "", "the key 'password' is missing"),
        (f'users: {{anna: {{password: "{TEXT}", role: boss}}}}', "", "choose from engineer, operator, viewer"),
        (f'users: {{a b: {{password: "{TEXT}"}}}}', "", "cannot be a user's name"),
        ("port: 8080", "", "unknown key 'port'"),
    ],
)
def test_mistakes_say_what_to_write(tmp_path: Path, web: str, more: str, told: str) -> None:
    found = mistakes(tmp_path, web, more)
    assert told in found
    assert "hunter2" not in found  # it may be a password


def test_users_that_are_wrong_do_not_make_the_address_wrong(tmp_path: Path) -> None:
    found = mistakes(tmp_path, "listen: http://0.0.0.0:8080, users: {anna: {password: x}}")
    assert found.count("plant.yaml") == 1


@pytest.mark.parametrize(
    ("web", "more", "told"),
    [
        (f"listen: http://0.0.0.0:8080, {USERS}", "", "passwords travel readable"),
        ("metrics: {open: false}", "", "nobody can without `users`"),
        (f"metrics: {{tags: true}}, {USERS}", "", "read the values of tags without a login"),
    ],
)
def test_what_is_probably_not_meant_is_a_warning(tmp_path: Path, web: str, more: str, told: str) -> None:
    assert told in "\n".join(plant(tmp_path, web, more).warnings)


def test_rules_for_roles_fit_users(tmp_path: Path) -> None:
    rules = "server: {access: [{role: operator, may: write}, {may: read}]}"
    assert plant(tmp_path, USERS, rules).warnings == ()
    assert "fits nobody" in plant(tmp_path, "", rules).warnings[0]


def test_the_plants_certificate_is_the_pages_too(tmp_path: Path) -> None:
    config = plant(tmp_path, "listen: https://127.0.0.1", "tls: {cert: a.pem, key: a.key, ca: ca.pem}")
    assert config.warnings == ()
    tls = needs.page_tls(config)
    assert tls is not None
    assert (tls.cert, tls.key) == ("a.pem", "a.key")


def test_a_missing_package_is_a_mistake_that_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(needs, "PAGE_PACKAGES", ("no_such_package",))
    (found,) = needs.unmet(plant(tmp_path, ""), simulate=True, listens=False)
    assert found.is_fatal
    assert str(found.problem).endswith(
        'plant.yaml:1:1: web: the page needs starlette and uvicorn: pip install "gateway[web]"'
    )


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1", ("http", "127.0.0.1", 80)),
        ("HTTPS://gw.plant.local/", ("https", "gw.plant.local", 443)),
        ("http://[::1]:8080", ("http", "::1", 8080)),
        ("http://localhost:0", ("http", "localhost", 0)),
    ],
)
def test_addresses(text: str, url: tuple[str, str, int]) -> None:
    found = parse_web_url(text)
    assert tuple(found) == url
    assert parse_web_url(str(found)) == found


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("LOCALHOST.", True),
        ("a.localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
    ],
)
def test_what_is_loopback(host: str, is_ours: bool) -> None:
    assert is_loopback(host) is is_ours


# -- passwords ---------------------------------------------------------------------------------------------------------


def test_a_password_is_known_by_its_text_alone() -> None:
    made = make_password("correct-horse")
    text = str(made)
    assert text.startswith(f"scrypt:{LOG2_N}:{R}:{P}:")
    assert "$" not in text  # a variable of the YAML
    again = parse_password(text)
    assert again == made
    assert again.fits("correct-horse")
    assert not again.fits("correct-hors")
    assert str(make_password("correct-horse")) != text


def test_letters_are_the_same_however_a_keyboard_writes_them() -> None:
    assert make_password("gr\u00fcnspecht").fits("gru\u0308nspecht")


@pytest.mark.parametrize("password", ["", "short", "x" * (MAX_PASSWORD + 1)])
def test_a_password_has_a_length(password: str) -> None:
    with pytest.raises(ValueError, match="characters"):
        make_password(password)


@pytest.mark.parametrize(
    "text",
    [
        "secret",
        "$2b$12$abcdefghijklmnopqrstuv",
        "scrypt:15:8:3:AA:BB",
        TEXT.replace(":15:", ":10:"),  # weaker than it may be
        TEXT.replace(":15:", ":20:"),  # a gigabyte for each login
        TEXT.replace(":8:", ":99:"),
        TEXT.replace(":3:", ":0:"),
        TEXT[:-10],
        TEXT + "*",
    ],
)
def test_what_is_no_text_of_a_password_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="gateway passwd") as caught:
        parse_password(text)
    assert text not in str(caught.value)
