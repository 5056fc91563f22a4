"""Carriers that bring requests to the units: TCP now."""
