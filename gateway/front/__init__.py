"""Between the carriers and the units: who answers for a unit id, with what age, and what is counted."""
