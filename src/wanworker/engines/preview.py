"""A preview picture, reported with the progress of a render."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from wanworker.progress import Progress


@dataclass(frozen=True, slots=True)
class Previewed(Progress):
    """Progress that brings an image file of what there is so far; who only wants progress need not know it."""

    image: bytes = b""
    mime: str = "image/jpeg"

    @classmethod
    def of(cls, progress: Progress, image: bytes, mime: str) -> Previewed:
        """Return *progress* with a picture."""
        return cls(**dataclasses.asdict(progress), image=image, mime=mime)
