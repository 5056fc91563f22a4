"""The Modbus protocol, sans-I/O, on the standard library alone: codes and limits, frames, PDUs."""
