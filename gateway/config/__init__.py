"""The YAML file: `load(path) -> Config`, frozen and validated, or every mistake in it at once.

`model` is the shape (its sections in `model_*`), `load` reads YAML into it keeping file, line and column, `check`
judges what no single key can (overlaps, ranges, units), `addresses` and `durations` read the two notations users write.
"""
