"""Codes, limits and tables of the Modbus Application Protocol V1.1b3 and of the TCP guide V1.0b.

Numbers only: what a number means stands beside it with its section. Nothing here has state.
"""

from __future__ import annotations

import enum

MAX_PDU_SIZE = 253
"""Bytes of function code and data (V1.1b3 4.1)."""

MAX_READ_REGISTERS = 125  # 6.3, 6.4, and the read part of 6.17
MAX_WRITE_REGISTERS = 123  # 6.12
MAX_READ_WRITE_WRITE_REGISTERS = 121  # the write part of 6.17
MAX_READ_BITS = 2000  # 6.1, 6.2
MAX_WRITE_BITS = 1968  # 6.11
ADDRESSES = 0x10000
"""Addresses in each table."""
MAX_RECORDS = 10_000  # of a file, numbered from 0: 6.14, 6.15
RECORD_REFERENCE = 6
"""The only reference type of 6.14 and 6.15."""
MAX_QUEUED = 31  # registers of a queue: 6.18

# Function codes (V1.1b3 6)
READ_COILS = 0x01
READ_DISCRETE_INPUTS = 0x02
READ_HOLDING_REGISTERS = 0x03
READ_INPUT_REGISTERS = 0x04
WRITE_SINGLE_COIL = 0x05
WRITE_SINGLE_REGISTER = 0x06
READ_EXCEPTION_STATUS = 0x07
DIAGNOSTICS = 0x08
GET_EVENT_COUNTER = 0x0B
GET_EVENT_LOG = 0x0C
WRITE_MULTIPLE_COILS = 0x0F
WRITE_MULTIPLE_REGISTERS = 0x10
REPORT_SERVER_ID = 0x11
READ_FILE_RECORD = 0x14
WRITE_FILE_RECORD = 0x15
MASK_WRITE_REGISTER = 0x16
READ_WRITE_MULTIPLE_REGISTERS = 0x17
READ_FIFO_QUEUE = 0x18
ENCAPSULATED_INTERFACE = 0x2B
READ_DEVICE_IDENTIFICATION = 0x0E
"""The MEI type inside 0x2B (6.21)."""

EXCEPTION_BIT = 0x80

# Exception codes (V1.1b3 7)
ILLEGAL_FUNCTION = 0x01
ILLEGAL_ADDRESS = 0x02
ILLEGAL_VALUE = 0x03
SERVER_FAILURE = 0x04
ACKNOWLEDGE = 0x05
SERVER_BUSY = 0x06
NEGATIVE_ACKNOWLEDGE = 0x07  # of old devices; V1.1b3 has it no more
MEMORY_PARITY_ERROR = 0x08
GATEWAY_PATH_UNAVAILABLE = 0x0A
GATEWAY_TARGET_FAILED = 0x0B

NOT_EXECUTED = frozenset((ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, SERVER_BUSY))
"""Refusals of a write that say that nothing was done; after others (04, 05, 08, 0A, 0B) nobody knows."""

EXCEPTION_NAMES = {
    0x01: "illegal function",
    0x02: "illegal data address",
    0x03: "illegal data value",
    0x04: "server device failure",
    0x05: "acknowledge",
    0x06: "server busy",
    0x07: "negative acknowledge",
    0x08: "memory parity error",
    0x0A: "gateway path unavailable",
    0x0B: "gateway target device failed to respond",
}


def exception_text(code: int) -> str:
    """`02 illegal data address`: the code in hex with its name, for people."""
    return f"{code:02X} {EXCEPTION_NAMES.get(code, 'not a standard code')}"


class Table(enum.IntEnum):
    """The four tables of a unit (V1.1b3 4.3); the value indexes a bank's tables."""

    COILS = 0
    DISCRETE = 1
    HOLDING = 2
    INPUT = 3

    @property
    def word(self) -> str:
        """The name in YAML: coils, discrete, holding, input."""
        return self.name.lower()

    @property
    def is_bits(self) -> bool:
        return self <= Table.DISCRETE

    @property
    def read_function(self) -> int:
        return _READ_FUNCTIONS[self]

    def reference(self, address: int) -> str:
        """The six-digit Modicon reference of a wire address: holding 100 is 400101."""
        return f"{_LEADING_DIGITS[self]}{address + 1:05d}"

    def describe(self, first: int, count: int = 1) -> str:
        """Both notations, as every message prints them: `holding:100 (400101)`, `coils:0..15 (000001..000016)`."""
        if count == 1:
            return f"{self.word}:{first} ({self.reference(first)})"
        last = first + count - 1
        return f"{self.word}:{first}..{last} ({self.reference(first)}..{self.reference(last)})"


_READ_FUNCTIONS = (READ_COILS, READ_DISCRETE_INPUTS, READ_HOLDING_REGISTERS, READ_INPUT_REGISTERS)
_LEADING_DIGITS = "0143"
TABLE_BY_WORD = {table.word: table for table in Table}
TABLE_BY_READ_FUNCTION = dict(zip(_READ_FUNCTIONS, Table, strict=True))
