"""From a configuration to a running gateway: the only room that knows every part.

`blueprint` says what a configuration asks for, as values; `plant` holds what lives and makes the difference between two
blueprints; `gateway` opens, runs and closes it all in order; `command` is the process around it: files, log, signals.
"""

from gateway.app.command import run
from gateway.app.gateway import Gateway, build
from gateway.app.looptime import LoopTime

__all__ = ["Gateway", "LoopTime", "build", "run"]
