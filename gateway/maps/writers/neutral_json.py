"""The neutral map itself, for programs of one's own."""

from __future__ import annotations

import json

from gateway.maps.neutral import Map, as_json
from gateway.maps.target import Target, Written


def write(served: Map, target: Target) -> Written:
    told = as_json(served) | {"servers": [str(door) for door in target.doors], "version": target.version}
    return Written(json.dumps(told, indent=2, ensure_ascii=False) + "\n")
