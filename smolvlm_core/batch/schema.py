"""JSON schemas that answers are checked against. Does not know who answers."""

from __future__ import annotations

import json

from smolvlm_core.errors import LensError


def check_schema(text: str, name: str) -> None:
    """Raises LensError where the text is not a JSON schema. `name`: what the message calls it."""
    import jsonschema

    try:
        schema = json.loads(text)
        jsonschema.validators.validator_for(schema).check_schema(schema)
    except (ValueError, RecursionError) as error:
        raise LensError(f"{name} is not JSON: {error}.", "Check its commas and quotes.") from error
    except jsonschema.SchemaError as error:
        raise LensError(f"{name} is not a JSON schema: {error.message}.", "Correct it.") from error
