"""Transparent units: a client's requests go to a device as they are."""
