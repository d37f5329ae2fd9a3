"""The fields that requests with pictures share: the source of a file, and the size."""

from __future__ import annotations

from typing import Literal

from wanworker.actions.request.fields import Request
from wanworker.errors import InvalidRequest
from wanworker.media.inputs.reader import Source
from wanworker.spec import Size

_KINDS: tuple[Literal["url", "base64", "path"], ...] = ("url", "base64", "path")


class PictureRequest(Request):
    """A request with files as `<field>_url`, `<field>_base64` or `<field>_path`, and `size` or width and height."""

    size: str | None
    width: int | None
    height: int | None

    def source(self, field: str) -> Source | None:
        """Return where *field* (such as `reference_image`) comes from: URL, base64 or path, in that order."""
        for kind in _KINDS:
            value = getattr(self, f"{field}_{kind}")
            if value and value.strip():
                return Source(kind, value.strip(), f"{field}_{kind}")
        return None

    def checked_size(self) -> Size | None:
        """Return the size that was asked for, None if none was. Raises InvalidRequest."""
        if self.size is not None:
            return Size.parse(self.size)
        if (self.width is None) != (self.height is None):
            missing = "height" if self.height is None else "width"
            raise InvalidRequest(f"{missing} is missing: give width and height together, or size.", field=missing)
        return None if self.width is None or self.height is None else Size(self.width, self.height)
