"""The ways to the devices: a link (order, window, time-out, reconnect) on a carrier (TCP, UDP, TLS, serial, ...)."""
