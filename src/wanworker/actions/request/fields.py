"""Parse a job's fields with types, ranges and aliases; errors name the field, unknown fields become warnings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from wanworker.actions.request.complaints import complaints
from wanworker.actions.request.json_value import check_field_count
from wanworker.errors import InvalidRequest
from wanworker.spec import RANGES
from wanworker.text.nearest import nearest_names

Model = TypeVar("Model", bound="Request")

#: So many unknown fields are named in a warning each; the others are counted in one.
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class _Within:
    """Check a number against a row of RANGES."""

    name: str

    def __call__(self, value: Any) -> Any:
        limits = RANGES[self.name]
        if limits.low <= value <= limits.high:
            return value
        given = f"{value:.15g}" if isinstance(value, float) else value
        text = f"must be between {limits.low:.15g} and {_upper(self.name)}; got {given}"
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
    Return the request and the warnings: fields that it does not know, and fields that were given twice.

    Raises InvalidRequest naming every field that is wrong, as the caller spelled it, with what was expected.
    """
    check_field_count(fields)
    aliases = model.aliases()
    named: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    unknown, warnings = [], []
    for key in sorted(fields, key=lambda key: key in aliases):
        name = aliases.get(key, key)
        if name not in model.model_fields:
            unknown.append(key)
        elif name in named:
            warnings.append(f"{key} was ignored: {spelled[name]} means the same and was given too.")
        else:
            named[name], spelled[name] = fields[key], key
    warnings += _about_unknown(unknown, [*model.model_fields, *aliases])
    try:
        return model.model_validate(named), warnings
    except ValidationError as error:
        details = error.errors(include_url=False)
        first = str(details[0]["loc"][0]) if details[0]["loc"] else None
        raise InvalidRequest(complaints(details, spelled), field=spelled.get(first or "", first)) from None


def _about_unknown(keys: list[str], known: list[str]) -> list[str]:
    lines = []
    for key in keys[:_MOST_NAMED]:
        near = nearest_names(key, known, most=1, cutoff=0.6)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        lines.append(f"unknown field {key[:60]!r} was ignored{hint}")
    if (more := len(keys) - _MOST_NAMED) > 0:
        lines.append(f"{more} more unknown {'field was' if more == 1 else 'fields were'} ignored.")
    return lines
