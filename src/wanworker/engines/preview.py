"""Report a preview picture with the progress of a render."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from wanworker.progress import Progress


@dataclass(frozen=True, slots=True)
class Previewed(Progress):
    """Hold progress together with an image file of the render so far. It can be used like any other progress."""

    image: bytes = b""
    mime: str = "image/jpeg"

    @classmethod
    def of(cls, progress: Progress, image: bytes, mime: str) -> Previewed:
        """Return *progress* with a picture."""
        return cls(**dataclasses.asdict(progress), image=image, mime=mime)
