"""The configuration as frozen sections: one class per section, one attribute per key, defaults that are safe.

Here is the whole plant; its sections are in `model_server`, `model_units`, `model_devices`, `model_web`, `model_tls`.

The rule of these files: a key that exists here works. A scalar arrives as the text that stands in the YAML and is read
as what the key wants (`on` can be a name, `00101` a reference). Times carry their unit in the attribute (`timeout_s`),
in the YAML in the value (`timeout: 1s`). What concerns two keys at once is judged in `check`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field, PrivateAttr

from gateway.config.addresses import Place
from gateway.config.model_devices import Device, Link
from gateway.config.model_server import Server
from gateway.config.model_tls import Tls
from gateway.config.model_units import Route, Unit, UnitSection
from gateway.config.model_web import Web
from gateway.config.scalars import BooleanField, IntegerField, Name, TextField, UnitKey, VersionField, empty_is_no_keys
from gateway.config.section import Section
from gateway.config.sizes import SizeField

if TYPE_CHECKING:
    from gateway.config.needs import Need


class Audit(Section):
    """Every write of every client, as JSON lines."""

    enabled: BooleanField = True
    """false: no audit."""
    path: TextField = "audit.jsonl"
    """Where it lies, in the state directory."""
    max_size: SizeField = 10_000_000
    """A file that has grown to this is put aside as `.1`, that as `.2` ..."""
    keep: Annotated[IntegerField, Field(ge=0, le=1000)] = 10
    """How many of those are kept."""


class Config(Section):
    """A whole plant, checked. Made by `load`, never by hand."""

    version: VersionField | None = None
    """The version of the gateway that this file was written for; `gateway check` tells what changed since."""
    server: Server = Server()
    """What SCADA connects to."""
    sections: Annotated[dict[UnitKey, UnitSection], BeforeValidator(empty_is_no_keys)] = Field(
        default={}, alias="units"
    )
    """What each unit id answers with."""
    state_dir: TextField | None = None
    """Where retained registers and the control socket lie; default: `state` beside the first file."""
    tls: Tls | None = None
    """Certificates of every `tls://` listener and device that has none of its own."""
    audit: Audit = Audit()
    """Who wrote what."""
    web: Web | None = None
    """The page; without this section there is none."""
    links: Annotated[dict[Name, Link], BeforeValidator(empty_is_no_keys)] = Field(default={})
    """Ways to devices that need a name."""
    devices: Annotated[dict[Name, Device], BeforeValidator(empty_is_no_keys)] = Field(default={})
    """PLCs, meters, drives: what is read."""
    _warnings: tuple[str, ...] = PrivateAttr(default=())
    _notes: tuple[str, ...] = PrivateAttr(default=())
    _needs: tuple[Need, ...] = PrivateAttr(default=())
    _state_path: Path = PrivateAttr(default=Path("state"))
    _folder: Path = PrivateAttr(default=Path())

    @property
    def warnings(self) -> tuple[str, ...]:
        """`FILE:LINE:COLUMN: PATH: ...` of what is allowed but probably not meant; no key of the YAML."""
        return self._warnings

    @property
    def notes(self) -> tuple[str, ...]:
        """As `warnings`: what newer versions do otherwise with this file than the one it was written for."""
        return self._notes

    @property
    def needs(self) -> tuple[Need, ...]:
        """What it needs of the machine, for `needs.unmet`; no key of the YAML."""
        return self._needs

    @property
    def state_path(self) -> Path:
        """The folder `state_dir` names, or its default, as an absolute path; no key of the YAML."""
        return self._state_path

    def path_of(self, text: str) -> Path:
        """A file that the YAML names, relative to the folder of the first file."""
        return self._folder / text

    def loaded(
        self, first_file: Path, warnings: tuple[str, ...], needs: tuple[Need, ...], notes: tuple[str, ...]
    ) -> Config:
        """The same plant with where it came from and what was noticed when it was read."""
        copy = self.model_copy()
        copy._warnings = warnings
        copy._notes = notes
        copy._needs = needs
        copy._folder = first_file.parent.resolve()
        copy._state_path = (first_file.parent / (self.state_dir or "state")).resolve()
        return copy

    @cached_property
    def units(self) -> Mapping[int, Unit]:
        """The register images of our own that the file names, by unit id."""
        return {
            key.first: section
            for key, section in self.sections.items()
            if isinstance(section, Unit) and key.first == key.last
        }

    @cached_property
    def routes(self) -> Mapping[int, Route]:
        """The unit ids that are passed through, ranges expanded."""
        return {
            unit_id: section
            for key, section in self.sections.items()
            if isinstance(section, Route)
            for unit_id in key.ids
        }

    def unit_of(self, place: Place) -> int:
        """The unit id a place of ours belongs to: its own, or the default unit."""
        return self.server.default_unit if place.unit is None else place.unit

    def link_of(self, name: str) -> Link:
        """The way to device `name`: its named link, or one made of the device's own keys."""
        device = self.devices[name]
        if device.link is not None:
            return self.links[device.link]
        return Link.model_construct(
            urls=device.urls,
            prefer=device.prefer or "first",
            source=device.source,
            keepalive_s=_or(device.keepalive_s, 60.0),
            connect_delay_s=_or(device.connect_delay_s, 0.0),
            delay_s=_or(device.delay_s, 0.0),
            in_flight=device.in_flight or 1,
            tls=device.tls,
        )

    def link_key(self, name: str) -> str:
        """What devices on one connection have in common: link name, or url and source; `sim://` is never shared."""
        device = self.devices[name]
        if device.link is not None:
            return device.link
        assert device.urls  # `check` saw to it
        if device.urls[0].scheme == "sim":
            return f"sim://{name}"
        urls = "|".join(map(str, device.urls))
        return f"{urls}?source={device.source}" if device.source else urls


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
