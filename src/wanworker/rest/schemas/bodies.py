"""Write the schema of a body that a route reads itself. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel


def documented_body(model: type[BaseModel], *, files: Mapping[str, str]) -> dict[str, Any]:
    """
    Return the schema of a body: the same fields as JSON and as a form.

    *files* has the fields that are files in a form, each with its description.
    """
    form = model.model_json_schema()
    form["properties"] = {name: _text_alone(field) for name, field in form["properties"].items()}
    for name, meaning in files.items():
        form["properties"][name] = {"type": "string", "format": "binary", "description": meaning}
    for name in ("example", "$defs"):
        form.pop(name, None)
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    content = {"application/json": {"schema": schema}, "multipart/form-data": {"schema": form}}
    return {"requestBody": {"required": True, "content": content}}


def _text_alone(field: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a form's field. A form leaves a field out, and has no null and no list of objects."""
    choices: list[dict[str, Any]] = field.get("anyOf", [{}])
    kind = next(choice for choice in choices if choice.get("type") != "null")
    if "$ref" in field.get("items", {}):
        return {"type": "string", "description": f"{field['description']} As JSON text, or one name."}
    return {name: value for name, value in field.items() if name not in {"anyOf", "default"}} | kind
