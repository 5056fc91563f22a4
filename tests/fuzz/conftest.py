"""How long to search: seconds in CI; `FUZZ_EXAMPLES=20000 pytest tests/fuzz --timeout=0` for as long as you like."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "fuzz",
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "250")),
    deadline=None,  # a loaded machine is no bug
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fuzz")
