"""Commissioning: what answers, where, and as what (`gateway scan`, `guess`, `doctor`). Asks; never writes."""
