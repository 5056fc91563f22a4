"""The gateway that foreign clients read and write: one process for a module, the same registers for all of them."""

from __future__ import annotations

import pytest

from tests.conftest import Start
from tests.support.process import Running

PLANT = """
server:
  listen: tcp://127.0.0.1:0
  identity: {vendor: Acme, product: GW-1, revision: "1.0"}
units:
  1:
    coils: 0..1999
    discrete: 0..999
    holding: 0..999
    input: 0..999
    read_only: [holding:500..509, coils:1990..1999]
    initial:
      "discrete:0": [false, true, true, false, false, true]
      "input:0": [555, 0, 0xFF06]
      "holding:100": [0x42F6, 0xE979]
      "holding:500": [5, 6, 7]
"""


@pytest.fixture(scope="module")
def gateway(start: Start) -> Running:
    return start(PLANT)


@pytest.fixture(scope="module")
def port(gateway: Running) -> int:
    return gateway.port
