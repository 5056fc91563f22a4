"""The worked examples of the protocol digest, sections 1.4 to 1.8 and 2.1, byte for byte, and the plant they assume.

They follow the examples of V1.1b3 section 6. Every vector stands for itself: it may run alone, twice, in any order.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.support.wire import hexed

PLANT = """
server:
  listen: tcp://127.0.0.1:0
  default_unit: 3
  unknown_unit: target_failed
  identity: {vendor: Acme, product: GW-1, revision: "1.0"}
units:
  1:
    coils: 0..1999
    discrete: 0..1999
    holding: 0..9999
    input: 0..9999
    initial:
      "coils:32": [true, false, true, true, false, false, true, false, true, true, false, false, true]
      "discrete:100": [false, true, true, false, false, true]
      "holding:0": [4369, 8738]
      "holding:3": [1, 2, 3, 4]
      "holding:100": [0x42F6, 0xE979]
      "holding:107": [555, 0, 100]
      "input:8": 0xFF06
      "input:16": 0xABCD
  2: {holding: 0..9, initial: {"holding:4": 0x1234}}
  3: {holding: 0..9, initial: {"holding:4": 5}}
  4:
    coils: 0..15
    holding: 1000..1999
    exception_status: coils:0
    files: {3: {records: 11}, 4: {records: 10, path: recipes.dat}}
    fifo: {"holding:1246": {}, "holding:1300": {}}
    initial:
      "coils:0": [false, true, true, false, true, false, false, true]
      "holding:1246": [3, 0x01B8, 0x1284, 7]
      "holding:1300": [2, 0x01B8, 0x1284]
"""


class Vector(NamedTuple):
    sentence: str
    request: str
    response: str
    unit: int = 1
    first: tuple[str, ...] = ()
    """Requests that bring the registers into the state the example begins with."""
    then: tuple[tuple[str, str], ...] = ()
    """Reads, and what they show afterwards: an echo is no proof of a write."""


VECTORS = [
    # 1.4 bits
    Vector("01 reads 13 coils from 32", "01 0020 000D", "01 02 4D 13"),
    Vector("01 refuses a range that is not in the map", "01 07C8 000D", "81 02"),
    Vector("02 reads 6 discrete inputs from 100", "02 0064 0006", "02 01 26"),
    Vector(
        "05 switches coil 12 on",
        "05 000C FF00",
        "05 000C FF00",
        first=("05 000C 0000",),
        then=(("01 000B 0003", "01 01 02"),),
    ),
    Vector(
        "05 switches coil 12 off",
        "05 000C 0000",
        "05 000C 0000",
        first=("05 000C FF00",),
        then=(("01 000B 0003", "01 01 00"),),
    ),
    Vector("05 refuses any value but FF00 and 0000", "05 000C 0001", "85 03"),
    Vector(
        "15 writes 10 coils from 19",
        "0F 0013 000A 02 CD 01",
        "0F 0013 000A",
        first=("0F 0010 0010 02 00 00",),
        then=(("01 0013 000A", "01 02 CD 01"), ("01 0010 0010", "01 02 68 0E")),
    ),
    # 1.5 registers
    Vector("03 reads 3 registers from 107", "03 006B 0003", "03 06 02 2B 00 00 00 64"),
    Vector("03 refuses a bad range", "03 2710 0001", "83 02"),
    Vector("03 refuses quantity 0", "03 006B 0000", "83 03"),
    Vector("03 refuses quantity 126", "03 006B 007E", "83 03"),
    Vector("03 reads float32 123.456 from 100", "03 0064 0002", "03 04 42 F6 E9 79"),
    Vector("04 reads input register 8", "04 0008 0001", "04 02 FF 06"),
    Vector(
        "06 writes 1500 to register 16",
        "06 0010 05DC",
        "06 0010 05DC",
        first=("06 0010 0000",),
        then=(("03 000F 0003", "03 06 0000 05DC 0000"),),
    ),
    Vector(
        "16 writes float32 123.456 to 256 and 257",
        "10 0100 0002 04 42F6 E979",
        "10 0100 0002",
        first=("10 0100 0002 04 0000 0000",),
        then=(("03 0100 0002", "03 04 42F6 E979"), ("03 00FF 0004", "03 08 0000 42F6 E979 0000")),
    ),
    Vector(
        "22 turns 1234 of register 4 into 1235",
        "16 0004 FFF0 0005",
        "16 0004 FFF0 0005",
        unit=2,
        first=("06 0004 1234",),
        then=(("03 0004 0001", "03 02 1235"),),
    ),
    Vector(
        "23 reads 4 from 3 and writes 2 to 14",
        "17 0003 0004 000E 0002 04 00FF 0102",
        "17 08 0001 0002 0003 0004",
        first=("10 000E 0002 04 0000 0000",),
        then=(("03 000D 0003", "03 06 0000 00FF 0102"),),
    ),
    # 1.6 diagnostics
    Vector("08 sub-function 0 echoes", "08 0000 CAFE", "08 0000 CAFE"),
    Vector("08 reads the diagnostic register of a gateway without troubles", "08 0002 0000", "08 0002 0000"),
    # 1.6, and V1.1b3 6.7
    Vector("07 reads the exception status 96", "07", "07 96", unit=4),
    Vector("07 of a gateway without troubles is 0", "07", "07 00"),
    Vector(
        "07 reads the exception status 6D",
        "07",
        "07 6D",
        unit=4,
        first=("0F 0000 0008 01 6D",),
        then=(("0F 0000 0008 01 96", "0F 0000 0008"), ("07", "07 96")),
    ),
    # 1.7 files, and V1.1b3 6.14 and 6.15
    Vector(
        "20 reads records 1 and 2 of file 4 and record 9 of file 3",
        "14 0E 06 0004 0001 0002 06 0003 0009 0001",
        "14 0A 05 06 0D12 0020 03 06 33CD",
        unit=4,
        first=("15 14 06 0004 0001 0002 0D12 0020 06 0003 0009 0001 33CD",),
    ),
    Vector(
        "20 reads two registers of each of two files",
        "14 0E 06 0004 0001 0002 06 0003 0009 0002",
        "14 0C 05 06 0DFE 0020 05 06 33CD 0040",
        unit=4,
        first=("15 16 06 0004 0001 0002 0DFE 0020 06 0003 0009 0002 33CD 0040",),
    ),
    Vector(
        "21 writes records 7 and 8 of file 4",
        "15 0B 06 0004 0007 0002 06AF 04BE",
        "15 0B 06 0004 0007 0002 06AF 04BE",
        unit=4,
        first=("15 0F 06 0004 0006 0004 0000 0000 0000 0000",),
        then=(("14 07 06 0004 0006 0004", "14 0A 09 06 0000 06AF 04BE 0000"),),
    ),
    Vector(
        "21 writes three registers from record 7 of file 4",
        "15 0D 06 0004 0007 0003 06AF 04BE 100D",
        "15 0D 06 0004 0007 0003 06AF 04BE 100D",
        unit=4,
        then=(("14 07 06 0004 0007 0003", "14 08 07 06 06AF 04BE 100D"),),
    ),
    # 1.5 queues, and V1.1b3 6.18
    Vector("24 reads the queue at 1246 with three entries", "18 04DE", "18 0008 0003 01B8 1284 0007", unit=4),
    Vector("24 reads a queue with two entries", "18 0514", "18 0006 0002 01B8 1284", unit=4),
    # 1.8 device identification
    Vector(
        "43/14 streams the basic objects",
        "2B 0E 01 00",
        "2B 0E 01 81 00 00 03 00 04 41636D65 01 04 47572D31 02 03 312E30",
    ),
    Vector("43/14 reads the vendor alone", "2B 0E 04 00", "2B 0E 04 81 00 00 01 00 04 41636D65"),
    Vector("43 refuses another MEI type", "2B 0D 00 00", "AB 01"),
    Vector("43/14 refuses an unknown object read alone", "2B 0E 04 7F", "AB 02"),
    Vector("43/14 refuses a bad read code", "2B 0E 05 00", "AB 03"),
]


class Conversation(NamedTuple):
    sentence: str
    segment: str
    answers: str


CONVERSATIONS = [
    # 2.1 MBAP
    Conversation(
        "read holding register 4 of unit FF with transaction id 1501",
        "1501 0000 0006 FF 03 0004 0001",
        "1501 0000 0005 FF 03 02 0005",
    ),
    Conversation(
        "a unit behind us that does not respond is answered 0B",
        "1502 0000 0006 11 03 006B 0003",
        "1502 0000 0003 11 83 0B",
    ),
    Conversation(
        "two requests in one segment",
        "0001 0000 0006 01 03 0000 0002  0002 0000 0006 01 04 0010 0001",
        "0001 0000 0007 01 03 04 1111 2222  0002 0000 0005 01 04 02 ABCD",
    ),
]


def pdus(vector: Vector) -> tuple[bytes, bytes]:
    """Request and response."""
    return hexed(vector.request), hexed(vector.response)
