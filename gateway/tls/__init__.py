"""Modbus/TCP Security (MB-TCP-Security v36): contexts, roles, certificates to try it with."""
