"""Simulated PLCs behind real loopback connections: registers that move by signals and hold what is written.

They answer from a bank as our own units do, but on a small listener of their own, so that what polls them takes every
step a real device would ask of it.
"""
