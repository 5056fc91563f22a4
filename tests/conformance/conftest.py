"""Both ways to a unit: straight into the core, and over a socket of the real command."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.conftest import Start
from tests.support.core import build_units
from tests.support.wire import Wire

Ask = Callable[..., bytes]
"""`ask(pdu, unit=1)`: the response PDU."""


@pytest.fixture(scope="module", params=["core", "socket"])
def connect(
    request: pytest.FixtureRequest, start: Start, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Ask]:
    """Opens a way to the units of the module's `PLANT`."""
    plant: str = request.module.PLANT
    if request.param == "socket":
        gateway = start(plant)
        return lambda: Wire(gateway.port).ask

    units = build_units(plant, tmp_path_factory.mktemp("core"))

    def ask(pdu: bytes, unit: int = 1) -> bytes:
        answer = units[unit].answer(pdu)
        assert answer is not None, f"silence to {pdu.hex(' ')}"
        return answer

    return lambda: ask


@pytest.fixture
def ask(connect: Callable[[], Ask]) -> Iterator[Ask]:
    """A way of one's own to the units, so that no test stumbles over another's connection."""
    way = connect()
    yield way
    owner = getattr(way, "__self__", None)
    if isinstance(owner, Wire):
        owner.close()
