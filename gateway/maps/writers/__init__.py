"""One file per format: `write(served, target)`, pure."""
