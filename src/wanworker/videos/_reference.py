"""Read what a video is to follow: a picture, a video or a sound, as a file, base64 text, a data URI or a URL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from wanworker.actions.request.fields import Request, parse
from wanworker.errors import InvalidRequest
from wanworker.media.inputs.kinds import is_film
from wanworker.media.inputs.reader import Source
from wanworker.text.json_words import kind_of

#: The fields of a request that hold a file, each with what it must be, None where its content decides.
REFERENCES: Mapping[str, str | None] = {
    "input_reference": None,
    "image_reference": "reference_image",
    "video_reference": "driving_video",
    "audio": "audio",
    "audio_url": "audio",
    "audio_base64": "audio",
}

_WORDS = {"reference_image": "picture", "driving_video": "video", "audio": "sound"}

#: What each URL in a reference that is an object is of.
_MEANINGS: Mapping[str, str] = {"image_url": "reference_image", "video_url": "driving_video", "audio_url": "audio"}
_KEYS = {meaning: key for key, meaning in _MEANINGS.items()}


class _Reference(Request):
    """Hold a reference that is an object: one URL."""

    image_url: str | None = None
    video_url: str | None = None
    audio_url: str | None = None

    def urls(self) -> dict[str, str]:
        """Return the URLs that are there by their keys. An empty text is none."""
        given = {name: getattr(self, name) for name in _MEANINGS}
        return {name: url for name, url in given.items() if url and url.strip()}


def sources_in(fields: Mapping[str, Any]) -> tuple[dict[str, Source], list[str]]:
    """
    Return the inputs of the `generate` action, `reference_image`, `driving_video` and `audio`, that *fields* have.

    With them come warnings about what is unknown in an object. Raises InvalidRequest for an object without a URL, with
    two or with one of the wrong kind, and for two fields that mean the same input.
    """
    found: dict[str, Source] = {}
    warnings: list[str] = []
    for field, meaning in REFERENCES.items():
        value, name = fields.get(field), meaning
        if isinstance(value, Mapping):
            value, name = _url_in(value, field, meaning, warnings)
        source = _source(value, field)
        if source is None:
            continue
        name = name or _by_content(source)
        if name in found:
            message = f"{found[name].field} and {field} are both a {_WORDS[name]}."
            raise InvalidRequest(message, hint="Send one of the two.", field=field)
        found[name] = source
    return found, warnings


def _url_in(
    given: Mapping[str, Any], field: str, meaning: str | None, warnings: list[str]
) -> tuple[str | None, str | None]:
    """Return the URL in an object, and what it is of. An object of nothing, or of empty texts, has none."""
    reference, unknown = parse(_Reference, given, within=(field,))
    urls = reference.urls()
    if not urls and not any(given.values()):
        return None, None
    if not urls:
        names = ", ".join(map(str, given))[:80] or "nothing"
        message = f"{field} must have image_url, video_url or audio_url; got {names}."
        hint = "Files are not kept on this server under an id: send the file itself, or its URL."
        raise InvalidRequest(message, hint=hint, field=field)
    for key in urls:
        if meaning not in {None, _MEANINGS[key]}:
            message = f"{field} is a {_WORDS[str(meaning)]} and takes no {key}."
            raise InvalidRequest(message, hint=f"Send {_KEYS[str(meaning)]} in it.", field=field)
    if len(urls) > 1:
        hint = "Send a picture in image_reference and a video in video_reference to send both."
        raise InvalidRequest(f"{field} has {' and '.join(urls)}; it takes one URL.", hint=hint, field=field)
    warnings += unknown
    [(key, url)] = urls.items()
    return url, _MEANINGS[key]


def _source(value: Any, field: str) -> Source | None:
    """Return the file or the URL that *value* is, None for null and for an empty text, which mean left out."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidRequest(f"{field} must be a file, a URL or base64 text; got {kind_of(value)}.", field=field)
    text = value.strip()
    if not text:
        return None
    kind: Literal["url", "base64"] = "url" if text.partition(":")[0].lower() in {"http", "https"} else "base64"
    return Source(kind, text, field)


def _by_content(source: Source) -> str:
    """Tell a video from a picture. A URL that does not say what it is means a picture."""
    if source.kind == "url":
        return "reference_image"
    return "driving_video" if is_film(source.value) else "reference_image"
