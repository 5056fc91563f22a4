"""Properties: as many examples as ever, for as long as they take."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "unit", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # a loaded machine is no bug
settings.load_profile("unit")
