"""Sections of the configuration: the page, who may log in there, and `/metrics`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from gateway.config.durations import DurationField
from gateway.config.model_tls import PageTls
from gateway.config.page import HostNameField, UserName, UserRole, WebUrl, WebUrlField
from gateway.config.passwords import PasswordField
from gateway.config.scalars import BooleanField, empty_is_no_keys, one_or_many
from gateway.config.section import Section


class User(Section):
    """Somebody who may log in to the page."""

    password: PasswordField
    """What `gateway passwd` prints; never the password itself."""
    role: UserRole = "viewer"
    """`viewer` only looks; `operator` and `engineer` may write what `access` lets their role write."""


class Metrics(Section):
    """What `/metrics` tells."""

    open: BooleanField = True
    """false: only who is logged in may read it. Without `users` everybody may who reaches the page."""
    tags: BooleanField = False
    """true: the values of tags, too."""


class Web(Section):
    """The page, its HTTP interface, `/metrics`, `/healthz` and `/readyz`."""

    listen: WebUrlField = WebUrl("http", "127.0.0.1", 8080)
    """`http://HOST:PORT` or `https://HOST:PORT`. Beyond this machine only with `users`."""
    hosts: Annotated[tuple[HostNameField, ...], one_or_many] = ()
    """Names that browsers may call the page by, besides addresses, `localhost`, this machine's name and `listen`'s."""
    tls: PageTls | None = None
    """Of an `https://` page; default: the plant's `tls`."""
    users: Annotated[dict[UserName, User], BeforeValidator(empty_is_no_keys)] = Field(default={})
    """Who may log in, by name; without any the page only shows, to this machine."""
    session_s: DurationField = Field(default=12 * 3600.0, alias="session")
    """How long a login lasts."""
    trend_s: DurationField = Field(default=3600.0, alias="trend")
    """How much of the past is kept in memory for trends; 0s: nothing."""
    metrics: Metrics = Metrics()
    """What `/metrics` tells, and to whom."""
