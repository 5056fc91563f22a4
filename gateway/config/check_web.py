"""The section `web`: who may reach the page and how, before anybody can.

The rule: a page without users is for this machine alone and only shows. What would show the plant to a network without
a question, or send passwords through it readable, is an error or a warning here, not a surprise later.
"""

from __future__ import annotations

from gateway.config.check_times import at_least, at_most
from gateway.config.check_tls import MAKE_SOME
from gateway.config.model import Config
from gateway.config.model_web import Web
from gateway.config.tree import Findings, KeyPath, place_of

MIN_SESSION_S = 60.0
MAX_SESSION_S = 30 * 86400.0
"""A cookie that is stolen works as long."""
MIN_TREND_S = 60.0
MAX_TREND_S = 7 * 86400.0
"""What is older belongs on a disk."""
MAX_USERS = 200
"""Of a page of one gateway; more are a directory's affair, which this is not."""

_LISTEN: KeyPath = ("web", "listen")


def check_web(config: Config, findings: Findings, broken: frozenset[KeyPath]) -> None:
    web = config.web
    if web is None:
        return
    at_least(findings, ("web", "session"), web.session_s, MIN_SESSION_S)
    at_most(findings, ("web", "session"), web.session_s, MAX_SESSION_S)
    at_least(findings, ("web", "trend"), web.trend_s, MIN_TREND_S, off=True)
    at_most(findings, ("web", "trend"), web.trend_s, MAX_TREND_S)
    if len(web.users) > MAX_USERS:
        findings.error(("web", "users"), f"at most {MAX_USERS} users, these are {len(web.users)}", key=True)
    _check_reach(web, findings, broken)
    _check_tls(config, web, findings, broken)
    _check_port(config, web, findings)
    if web.users and web.metrics.open and web.metrics.tags and not _is_cut(broken, "metrics"):
        message = (
            "lets everybody who reaches the page read the values of tags without a login; let only Prometheus's machine"
            " reach it, leave `tags` out, or write `open: false`"
        )
        findings.warn(("web", "metrics", "tags"), message)
    if not web.users and not web.metrics.open and not _is_cut(broken, "users"):
        message = "closes /metrics to everybody who has not logged in, and nobody can without `users`"
        findings.warn(("web", "metrics", "open"), message)


def _is_cut(broken: frozenset[KeyPath], key: str) -> bool:
    """Whether it was wrong and is told already."""
    return any(cut[:2] == ("web", key) or cut == ("web",) for cut in broken)


def _check_reach(web: Web, findings: Findings, broken: frozenset[KeyPath]) -> None:
    if web.listen.is_loopback or _is_cut(broken, "listen"):
        return
    if not web.users:
        if not _is_cut(broken, "users"):
            findings.error(
                _LISTEN,
                f"{web.listen} can be reached from other machines, and without `users` nobody is asked who he is: "
                f"write `{web.listen._replace(host='127.0.0.1')}`, or `users:` with what `gateway passwd` prints",
            )
    elif web.listen.scheme == "http":
        findings.warn(
            _LISTEN,
            f"passwords travel readable over {web.listen}: write `https://`, with a certificate at `web.tls`, or leave "
            "the page on 127.0.0.1 behind a proxy that speaks https",
        )


def _check_tls(config: Config, web: Web, findings: Findings, broken: frozenset[KeyPath]) -> None:
    if _is_cut(broken, "listen"):
        return
    if web.listen.scheme == "http":
        if web.tls is not None:
            message = f"is for `https://`; write `https://` at `listen`, which is {web.listen}, or remove the key"
            findings.error(("web", "tls"), message, key=True)
    elif web.tls is None and config.tls is None and not _is_cut(broken, "tls") and ("tls",) not in broken:
        findings.error(
            _LISTEN, f"https:// needs a certificate: write `tls: {{cert: FILE, key: FILE}}` here; {MAKE_SOME}"
        )


def _check_port(config: Config, web: Web, findings: Findings) -> None:
    """Clients of ours and browsers cannot share a port."""
    for listener in config.server.listen:
        url = listener.url
        if url.carrier in ("tcp", "tls") and url.port and url.port == web.listen.port:
            place = place_of(findings.root, ("server", "listen"))
            findings.error(_LISTEN, f"on port {url.port} Modbus clients ask us ({place}: {url}); choose another one")
            return
