"""`gateway schema`: the JSON Schema of the YAML, for editors."""

from __future__ import annotations

import json


def schema() -> None:
    """Print a JSON Schema of the plant file, for completion and checks in editors.

    Examples:

      gateway schema > gateway.schema.json

      # first line of plant.yaml, for editors with the YAML language server:
      # yaml-language-server: $schema=gateway.schema.json
    """
    from gateway.config.schema import json_schema

    print(json.dumps(json_schema(), indent=2))
