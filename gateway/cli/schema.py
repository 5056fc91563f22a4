"""`gateway schema`: the JSON Schema of the YAML, for editors."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def schema(
    _json: Annotated[bool, typer.Option("--json", help="As it is without: it is JSON.")] = False,
) -> None:
    """Print the JSON Schema of the plant file.

    With it, editors complete and check keys. Put this into the first line of the file for the YAML language server:

      # yaml-language-server: $schema=gateway.schema.json

    Examples:

      gateway schema > gateway.schema.json

      gateway schema | less
    """
    from gateway.config.schema import json_schema

    print(json.dumps(json_schema(), indent=2))
