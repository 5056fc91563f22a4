"""A Modbus gateway: polls devices, keeps a register image true, serves it to Modbus clients."""

__version__ = "0.4.0"
