"""Parse a job's fields with types, ranges and aliases; errors name the field, unknown fields become warnings."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from wanworker.errors import InvalidRequest
from wanworker.spec import RANGES

Model = TypeVar("Model", bound="Request")


@dataclass(frozen=True, slots=True)
class _Within:
    """Check a number against a row of RANGES."""

    name: str

    def __call__(self, value: Any) -> Any:
        limits = RANGES[self.name]
        if limits.low <= value <= limits.high:
            return value
        text = f"must be between {limits.low:.15g} and {_upper(self.name)}; got {value}"
        raise PydanticCustomError("out_of_range", "{text}", {"text": text})


def _upper(name: str) -> str:
    high = RANGES[name].high
    return "2^64-1" if name == "seed" else f"{high:.15g}"


def _number(value: Any) -> Any:
    """Take numbers and numeric text. A boolean is no number, though Python says so."""
    if isinstance(value, bool):
        raise PydanticCustomError("no_number", "{text}", {"text": f"must be a number; got {str(value).lower()}"})
    if isinstance(value, str):
        return value.strip()
    return value


def _schema(name: str) -> Any:
    return Field(json_schema_extra={"minimum": RANGES[name].low, "maximum": RANGES[name].high})


Steps = Annotated[int, BeforeValidator(_number), AfterValidator(_Within("steps")), _schema("steps")]
Frames = Annotated[int, BeforeValidator(_number), AfterValidator(_Within("frames")), _schema("frames")]
Side = Annotated[int, BeforeValidator(_number), AfterValidator(_Within("side_px")), _schema("side_px")]
Seed = Annotated[int, BeforeValidator(_number), AfterValidator(_Within("seed")), _schema("seed")]
Guidance = Annotated[float, BeforeValidator(_number), AfterValidator(_Within("guidance")), _schema("guidance")]
Shift = Annotated[float, BeforeValidator(_number), AfterValidator(_Within("shift")), _schema("shift")]
Fps = Annotated[float, BeforeValidator(_number), AfterValidator(_Within("fps")), _schema("fps")]
Timeout = Annotated[float, BeforeValidator(_number), AfterValidator(_Within("timeout_s")), _schema("timeout_s")]
Strength = Annotated[float, BeforeValidator(_number), AfterValidator(_Within("strength")), _schema("strength")]
Prompt = Annotated[str, Field(max_length=int(RANGES["prompt_chars"].high))]


class Request(BaseModel):
    """The fields of one action. A subclass lists other names of its fields in `aliases`."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    @classmethod
    def aliases(cls) -> Mapping[str, str]:
        """Return other name -> documented name."""
        return {}


def parse(model: type[Model], fields: Mapping[str, Any]) -> tuple[Model, list[str]]:
    """
    Return the request and a warning for each field that it does not know or that was given twice.

    Raises InvalidRequest naming every field that is wrong, as the caller spelled it, with what was expected.
    """
    aliases = model.aliases()
    named: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    warnings = []
    for key in sorted(fields, key=lambda key: key in aliases):
        name = aliases.get(key, key)
        if name not in model.model_fields:
            warnings.append(_unknown(key, [*model.model_fields, *aliases]))
        elif name in named:
            warnings.append(f"{key} was ignored: {spelled[name]} means the same and was given too.")
        else:
            named[name], spelled[name] = fields[key], key
    try:
        return model.model_validate(named), warnings
    except ValidationError as error:
        details = error.errors(include_url=False)
        first = str(details[0]["loc"][0]) if details[0]["loc"] else None
        text = "; ".join(_complaint(item, spelled) for item in details)
        raise InvalidRequest(f"{text}.", field=spelled.get(first or "", first)) from None


def _unknown(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown field {key[:60]!r} was ignored{hint}"


def _complaint(item: ErrorDetails, spelled: Mapping[str, str]) -> str:
    """Say in one clause what is wrong with a field; long values are cut."""
    path = [spelled.get(str(part), str(part)) if depth == 0 else str(part) for depth, part in enumerate(item["loc"])]
    name = ".".join(path) or "input"
    if item["type"] in {"out_of_range", "no_number"}:
        return f"{name} {item['msg']}"
    if item["type"] == "string_too_long":
        return f"{name} must have at most {item['ctx']['max_length']} characters; got {len(item['input'])}"
    given = item["input"]
    shown = repr(given)[:60] if isinstance(given, (str, int, float, bool)) else type(given).__name__
    return f"{name}: {item['msg'][0].lower()}{item['msg'][1:]}; got {shown}"
