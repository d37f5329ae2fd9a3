"""Bring decoded frames to the size and number of the file, and write them in a thread while the next are decoded."""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias

import numpy
import torch
from PIL import Image

from wanworker.engines.resident.child._upscaling import Canvas, between
from wanworker.engines.resident.protocol import Render
from wanworker.media.video.writer import VideoWriter

if TYPE_CHECKING:
    Frame: TypeAlias = numpy.ndarray[tuple[int, int, int], numpy.dtype[numpy.uint8]]
    Frames: TypeAlias = numpy.ndarray[tuple[int, int, int, int], numpy.dtype[numpy.uint8]]

#: Pieces that wait for the encoder, each of four frames at most: enough to keep it busy, and little memory.
_WAITING_PIECES = 2


def pixels(piece: torch.Tensor) -> Frames:
    """Return the frames of *piece*, shape (3, n, h, w) and -1 to 1, as bytes of shape (n, h, w, 3) in main memory."""
    scaled = (piece.float() / 2 + 0.5).clamp(0, 1) * 255
    made: Frames = scaled.round().to(torch.uint8).permute(1, 2, 3, 0).contiguous().cpu().numpy()
    return made


class FrameWriter:
    """
    Write a job's frames in a thread of its own. Use it as a context manager, inside of the writer's.

    It takes pieces as they are decoded, and holds the decoder up only where the encoder is slower. A block that does
    not end well ends the thread too, after the frame that it writes. *beyond*, a picture of the file's size, is what
    lies around a small square clip.
    """

    def __init__(self, writer: VideoWriter, request: Render, beyond: Image.Image | None = None) -> None:
        self._writer, self._request, self._beyond = writer, request, beyond
        self._pieces: queue.Queue[Frames | None] = queue.Queue(_WAITING_PIECES)
        self._written: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._failure: Exception | None = None
        self._is_over = self._may_end = False
        self._thread = threading.Thread(target=self._write, name="frame writer", daemon=True)

    def __enter__(self) -> FrameWriter:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._is_over = True
        self._pieces.put(None)
        self._thread.join()

    def add(self, piece: torch.Tensor) -> None:
        """Take a decoded piece, shape (3, n, h, w). Raises what the encoder failed with."""
        self._raise_failure()
        self._pieces.put(pixels(piece))

    def written(self) -> Iterator[int]:
        """Say that all pieces are there, and yield the number of each frame once it is written. Raises as `add`."""
        self._pieces.put(None)
        while (number := self._written.get()) is not None:
            yield number
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _write(self) -> None:
        try:
            for frame in self._frames():
                self._writer.write(frame)
                self._written.put(self._writer.frames)
        except Exception as error:  # noqa: BLE001 - the thread's door: the job raises it
            self._failure = error
        self._written.put(None)
        while not self._may_end:  # whoever adds must not wait for a thread that takes nothing any more
            self._next()

    def _next(self) -> Frames | None:
        piece = self._pieces.get()
        self._may_end = piece is None and self._is_over
        return piece

    def _frames(self) -> Iterator[bytes]:
        wanted = self._request
        own, asked = (wanted.width, wanted.height), (wanted.out_width, wanted.out_height)
        if (own, wanted.frames) == (asked, wanted.out_frames) and not wanted.background_only:
            yield from (frame.tobytes() for frame in self._coming())
        elif frames := list(self._coming()):
            yield from self._presented(numpy.stack(frames))

    def _presented(self, frames: Frames) -> Iterator[bytes]:
        """Yield the file's frames of a whole small clip."""
        wanted = self._request
        show: Callable[[Frame], bytes] = numpy.ndarray.tobytes
        if wanted.background_only or frames.shape[1:3] != (wanted.out_height, wanted.out_width):
            canvas = Canvas(frames, wanted.out_width, wanted.out_height, self._beyond)
            show = canvas.placed
        if wanted.background_only:
            yield from itertools.repeat(canvas.empty, wanted.out_frames)
            return
        with contextlib.closing(between(frames, wanted.out_frames)) as moving:
            yield from itertools.takewhile(lambda _: not self._is_over, map(show, moving))

    def _coming(self) -> Iterator[Frame]:
        while (piece := self._next()) is not None and not self._is_over:
            yield from piece
