"""Read the files that a caller sends with a graph: check their names and save them in the job's folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from wanworker.actions.request.fields import Request
from wanworker.errors import InputRefused, InvalidRequest
from wanworker.media.inputs.reader import InputReader, Source
from wanworker.spec import Upload

_Kind = Literal["image", "audio", "video"]

#: Other spellings of the fields, each with its documented name.
_ALIASES: Mapping[str, str] = {"filename": "name", "base64": "data", "image": "data"}


class InputField(Request):
    """Hold one file: the name that the graph's nodes use for it, and its content."""

    name: str = Field(description="The plain file name that the graph's nodes use.")
    data: str | None = Field(default=None, description="Base64 or a data URI.")
    url: str | None = Field(default=None, description="The URL of the file.")
    path: str | None = Field(default=None, description="A file below an input folder.")

    @classmethod
    def aliases(cls) -> Mapping[str, str]:
        """Return other spellings of the fields, each with its documented name."""
        return _ALIASES

    def source(self, field: str) -> Source | None:
        """Return where the file comes from: base64 comes before a URL, a URL before a path. *field* is its list."""
        kinds: tuple[tuple[Literal["base64", "url", "path"], str | None], ...] = (
            ("base64", self.data), ("url", self.url), ("path", self.path),
        )  # fmt: skip
        given = (Source(kind, value.strip(), field) for kind, value in kinds if value and value.strip())
        return next(given, None)

    def plainly(self) -> InputField:
        """Return the same file in the form that is the same for every spelling of it."""
        from wanworker.comfyui.graph.api_format import upload_name  # a slow import, kept out of the start

        if (source := self.source("")) is None:
            return self
        kind, value = source.plainly()
        fields = {
            "name": upload_name(self.name),
            "data": None,
            "url": None,
            "path": None,
            "data" if kind == "base64" else kind: value,
        }
        return self.model_copy(update=fields)


#: More than any file system takes. The server gets the file under a name of ours.
_MOST_NAME_BYTES = 1000


@dataclass(frozen=True, slots=True)
class NamedSource:
    """Hold a file that is still to be read: its name in the graph, its kind and where it comes from."""

    name: str
    kind: _Kind
    source: Source


def checked_inputs(
    *, images: Sequence[InputField], audio: Sequence[InputField], videos: Sequence[InputField]
) -> tuple[NamedSource, ...]:
    """
    Return every file that was sent.

    Raises InputRefused for a name with a folder and for a name over 1000 bytes, InvalidRequest for an empty entry.
    """
    kinds: tuple[tuple[str, _Kind, Sequence[InputField]], ...] = (
        ("images", "image", images),
        ("audio", "audio", audio),
        ("videos", "video", videos),
    )
    named = [_checked(entry, field, kind) for field, kind, entries in kinds for entry in entries]
    for name, count in Counter(each.name for each in named).items():
        if count > 1:
            raise InvalidRequest(f"Two inputs have the name {name[:80]!r}; names must differ.", field="images")
    return tuple(named)


async def read_inputs(sources: Sequence[NamedSource], inputs: InputReader, folder: Path) -> tuple[Upload, ...]:
    """Read every file into *folder*. Raises InputUnavailable or InputRefused, naming the file."""
    readers = {"image": inputs.picture, "audio": inputs.audio, "video": inputs.video}
    uploads = []
    for number, each in enumerate(sources):
        path = await readers[each.kind](each.source, folder, f"input-{number}", label=each.name[:80])
        uploads.append(Upload(each.name, path))
    return tuple(uploads)


def overruled(**lists: Sequence[InputField]) -> list[str]:
    """Return a line for each source of a file that is not read, because another one was also given."""
    lines = []
    for field, entries in lists.items():
        for number, entry in enumerate(entries):
            given = [name for name in ("data", "url", "path") if (getattr(entry, name) or "").strip()]
            place = f"{field}[{number}]"
            lines += [f"{place}.{name} was ignored: {place}.{given[0]} was also given." for name in given[1:]]
    return lines


def _checked(entry: InputField, field: str, kind: _Kind) -> NamedSource:
    from wanworker.comfyui.graph.api_format import upload_name  # a slow import, kept out of the start

    name = upload_name(entry.name)
    if name.strip() in {"", ".", ".."} or "\\" in name or "/" in name or name.startswith("~"):
        message = f"{field}[].name must be a plain file name, without a folder; got {name[:80]!r}."
        raise InputRefused(message, hint="Name the file as the graph's node does, for example input.png.", field=field)
    if len(name.encode(errors="replace")) > _MOST_NAME_BYTES:
        message = f"{field}[].name {name[:80]!r}... is too long: a name has at most {_MOST_NAME_BYTES} bytes."
        raise InputRefused(message, field=field)
    if (source := entry.source(field)) is None:
        raise InvalidRequest(f"{field}: {name[:80]!r} has neither data, url nor path.", field=field)
    return NamedSource(name, kind, source)
