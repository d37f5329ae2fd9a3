"""Parse a job's fields with types, ranges and aliases; errors name the field, unknown fields become warnings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_core import PydanticCustomError

from wanworker.actions.request._names import Path, Request, named, written
from wanworker.actions.request.complaints import complaints
from wanworker.actions.request.json_value import from_text
from wanworker.errors import InvalidRequest, RequestError
from wanworker.ranges import RANGES
from wanworker.text.json_words import shown

__all__ = [
    "Crf",
    "Denoise",
    "Fps",
    "Frames",
    "Guidance",
    "NumOutputs",
    "Price",
    "Prompt",
    "Request",
    "Seconds",
    "Seed",
    "Shift",
    "Side",
    "Steps",
    "Strength",
    "Timeout",
    "UploadUrls",
    "Upscale",
    "Whole",
    "naming_unknown",
    "parse",
]

Model = TypeVar("Model", bound=Request)

#: A longer number is told by its length.
_SHOWN_DIGITS = 60


@dataclass(frozen=True, slots=True)
class _Within:
    """Check a number against one row of RANGES."""

    name: str

    def __call__(self, value: Any) -> Any:
        limits = RANGES[self.name]
        if limits.low <= value <= limits.high:
            return value
        given = f"{value:.15g}" if isinstance(value, float) else str(value)
        given = given if len(given) <= _SHOWN_DIGITS else f"a number of {len(given):,} digits"
        text = f"must be between {limits.low:.15g} and {_upper(self.name)}; got {given}"
        raise PydanticCustomError("out_of_range", "{text}", {"text": text})


def _upper(name: str) -> str:
    high = RANGES[name].high
    return "2^64-1" if name == "seed" else f"{high:.15g}"


def _number(value: Any) -> Any:
    """Return a number from a number or numeric text. A boolean is refused, although Python counts it as a number."""
    if isinstance(value, bool):
        raise PydanticCustomError("no_number", "{text}", {"text": f"must be a number; got {str(value).lower()}"})
    if isinstance(value, str):
        if "_" in value:  # Python takes 1_000 for a number; no other program does
            raise PydanticCustomError("no_number", "{text}", {"text": f"must be a number; got {shown(value)}"})
        return value.strip()
    return value


def _upscale(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        text = f"must be 2, 4 or the name of an upscale model; got {shown(value)}"
        raise PydanticCustomError("out_of_range", "{text}", {"text": text})
    return value


def _schema(name: str) -> Any:
    return Field(json_schema_extra={"minimum": RANGES[name].low, "maximum": RANGES[name].high})


#: A whole number whose range stands at its field.
Whole = Annotated[int, BeforeValidator(_number)]
Steps = Annotated[int, BeforeValidator(_number), AfterValidator(_Within("steps")), _schema("steps")]
Frames = Annotated[int, BeforeValidator(_number), AfterValidator(_Within("frames")), _schema("frames")]
Side = Annotated[int, BeforeValidator(_number), AfterValidator(_Within("side_px")), _schema("side_px")]
Seed = Annotated[int, BeforeValidator(_number), AfterValidator(_Within("seed")), _schema("seed")]
Guidance = Annotated[float, BeforeValidator(_number), AfterValidator(_Within("guidance")), _schema("guidance")]
Shift = Annotated[float, BeforeValidator(_number), AfterValidator(_Within("shift")), _schema("shift")]
Fps = Annotated[float, BeforeValidator(_number), AfterValidator(_Within("fps")), _schema("fps")]
Timeout = Annotated[float, BeforeValidator(_number), AfterValidator(_Within("timeout_s")), _schema("timeout_s")]
Strength = Annotated[float, BeforeValidator(_number), AfterValidator(_Within("strength")), _schema("strength")]
Seconds = Annotated[float, BeforeValidator(_number), AfterValidator(_Within("seconds")), _schema("seconds")]
NumOutputs = Annotated[int, BeforeValidator(_number), AfterValidator(_Within("num_outputs")), _schema("num_outputs")]
Crf = Annotated[int, BeforeValidator(_number), AfterValidator(_Within("crf")), _schema("crf")]
Denoise = Annotated[float, BeforeValidator(_number), AfterValidator(_Within("denoise")), _schema("denoise")]
Price = Annotated[float, BeforeValidator(_number), AfterValidator(_Within("price_per_hour")), _schema("price_per_hour")]
Upscale = Annotated[int | str, BeforeValidator(_upscale)]
Prompt = Annotated[str, Field(max_length=int(RANGES["prompt_chars"].high))]


def _urls(value: Any) -> Any:
    """
    Return a list of texts, also from a single text or from JSON, which is how forms send a list. Blank means none.

    A message never repeats a URL, whose query is a secret.
    """
    if isinstance(value, str):
        value = from_text(value, "output_upload_urls") if value.strip() else []
    urls = [value] if isinstance(value, str) else value
    if not isinstance(urls, list | tuple) or not all(isinstance(url, str) for url in urls):
        raise PydanticCustomError("out_of_range", "{text}", {"text": "must be a list of URLs, as text"})
    return tuple(urls)


UploadUrls = Annotated[tuple[str, ...], BeforeValidator(_urls)]


def parse(model: type[Model], fields: Mapping[str, Any], *, within: Path = ()) -> tuple[Model, list[str]]:
    """
    Return the request, and warnings about fields that are unknown.

    *within* is the place of *fields* where they are an object inside the request. Raises InvalidRequest with every
    wrong field, as the caller spelled it, and what was expected; and for two spellings of one field that disagree.
    """
    read = named(model, fields, within=within)
    try:
        request = model.model_validate(read.fields)
    except ValidationError as error:
        details = error.errors(include_url=False)
        first = details[0]["loc"][:1]
        raise InvalidRequest(
            complaints(details, read.as_written), field=written(read.as_written(first)) or None
        ) from None
    request.note_spelling(read)
    return request, read.warnings()


@contextmanager
def naming_unknown(model: type[Request], fields: Mapping[str, Any]) -> Iterator[None]:
    """
    Let the hint of a RequestError name those of *fields* that *model* does not know.

    A misspelled field is often why something is missing, and a failure has no warnings.
    """
    try:
        yield
    except RequestError as error:
        lines = [f"{line[0].upper()}{line[1:]}" for line in _unknown_in(model, fields)]
        error.advise(" ".join(line for line in lines if line not in error.hint))
        raise


def _unknown_in(model: type[Request], fields: Mapping[str, Any]) -> list[str]:
    try:
        return named(model, fields).warnings()
    except InvalidRequest:  # Two spellings disagree, or there are too many fields: the error says so itself.
        return []
