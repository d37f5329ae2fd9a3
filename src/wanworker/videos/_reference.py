"""Read what a video is to follow: a picture, a video or a sound, as a file, base64 text, a data URI or a URL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

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

#: What may stand in a reference that is an object.
_KEYS: Mapping[str, str | None] = {"image_url": "reference_image", "video_url": "driving_video", "audio_url": "audio"}


def sources_in(fields: Mapping[str, Any]) -> dict[str, Source]:
    """
    Return the inputs of the `generate` action, `reference_image`, `driving_video` and `audio`, that *fields* have.

    Raises InvalidRequest for an object without a URL, and for two fields that mean the same input.
    """
    found: dict[str, Source] = {}
    for field, meaning in REFERENCES.items():
        if (value := fields.get(field)) is None:
            continue
        source, name = _source(value, field)
        name = meaning or name or _by_content(source)
        if name in found:
            message = f"{found[name].field} and {field} are both a {_WORDS[name]}."
            raise InvalidRequest(message, hint="Send one of the two.", field=field)
        found[name] = source
    return found


_WORDS = {"reference_image": "picture", "driving_video": "video", "audio": "sound"}


def _source(value: Any, field: str) -> tuple[Source, str | None]:
    name = None
    if isinstance(value, Mapping):
        key = next((key for key in _KEYS if value.get(key)), None)
        if key is None:
            names = ", ".join(map(str, value))[:80] or "nothing"
            message = f"{field} must have image_url, video_url or audio_url; got {names}."
            hint = "Files are not kept on this server under an id: send the file itself, or its URL."
            raise InvalidRequest(message, hint=hint, field=field)
        value, name = value[key], _KEYS[key]
    if not isinstance(value, str) or not value.strip():
        raise InvalidRequest(f"{field} must be a file, a URL or base64 text; got {kind_of(value)}.", field=field)
    text = value.strip()
    kind: Literal["url", "base64"] = "url" if text.partition(":")[0].lower() in {"http", "https"} else "base64"
    return Source(kind, text, field), name


def _by_content(source: Source) -> str:
    """Tell a video from a picture. A URL that does not say what it is means a picture."""
    if source.kind == "url":
        return "reference_image"
    return "driving_video" if is_film(source.value) else "reference_image"
