"""
Bring a small square clip to the size and number of the file, without stretching what is in it.

Frames in between follow the motion, edges become sharp again, and the background goes on beside the square.
"""

from __future__ import annotations

import itertools
import math
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, TypeAlias

import numpy
from PIL import Image, ImageFilter

from wanworker.errors import EngineFailed
from wanworker.media.video import ffmpeg

if TYPE_CHECKING:
    Frame: TypeAlias = numpy.ndarray[tuple[int, int, int], numpy.dtype[numpy.uint8]]
    Frames: TypeAlias = numpy.ndarray[tuple[int, int, int, int], numpy.dtype[numpy.uint8]]
    Weights: TypeAlias = numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.float32]]

#: Blocks of 8 pixels follow a thing of 20; overlapped ones leave no seams. No cut is looked for: there is none.
_MOTION = "minterpolate=mi_mode=mci:mc_mode=aobmc:me_mode=bidir:vsbmc=1:mb_size=8:scd=none"

#: Still frames before and after the clip, which the filter needs to see a motion at its ends.
_LEAD, _TAIL = 2, 3

#: Edges are sharpened at this many times the own size; beyond it a pixel is small enough.
_SCALE = 4

#: The blur that makes one line of the steps of an enlarged outline, in pixels at that scale.
_BLUR_PX = 2.5

#: How far a blurred edge reaches at that scale, in pixels, and from which contrast on it is one (0 to 255).
_EDGE_PX, _EDGE_FROM, _EDGE_FULL = 7, 12, 52

#: How steep an edge becomes: 12 turns thirteen pixels of a ramp into three.
_STEEPNESS = 12.0

#: What differs less than this from its row's background is background, and more than that a thing (0 to 255).
_SAME, _OTHER = 5.0, 16.0

#: The share of the square's side in which its border turns into what is beside it.
_FADE = 0.06

#: The share of the width, at either border, whose median is a row's background: nothing stays there for long.
_BORDER = 0.07


def between(frames: Frames, count: int) -> Generator[Frame]:
    """
    Yield *count* frames for *frames*, shape (n, h, w, 3); the first and the last stay where they are.

    More frames than there are follow the motion (ffmpeg's motion compensation); fewer are the nearest ones. Raises
    EngineFailed when ffmpeg fails. Close the iterator to stop early: no process is left.
    """
    total = len(frames)
    if count <= total or total == 1:
        yield from (frames[index] for index in numpy.linspace(0, total - 1, count).round().astype(int))
        return
    # So many still frames come first that the clip's first frame falls on a frame of the new rate.
    period = (total - 1) // math.gcd(count - 1, total - 1)
    lead = math.ceil(_LEAD / period) * period
    still = numpy.concatenate([frames[:1].repeat(lead, 0), frames, frames[-1:].repeat(_TAIL, 0)])
    skipped = lead * (count - 1) // (total - 1)
    yield from itertools.islice(_interpolated(still, total - 1, count - 1), skipped, skipped + count)


def _interpolated(frames: Frames, rate: int, wanted_rate: int) -> Iterator[Frame]:
    """Yield *frames*, *rate* in a second, as *wanted_rate* in a second."""
    _, height, width, _ = frames.shape
    form = ("-f", "rawvideo", "-pix_fmt", "rgb24")
    argv = [
        *(ffmpeg.program(), "-hide_banner", "-nostdin", "-loglevel", "error", "-threads", "1", *form),
        *("-video_size", f"{width}x{height}", "-framerate", str(rate), "-i", "pipe:0"),
        *("-vf", f"format=yuv444p,{_MOTION}:fps={wanted_rate},format=rgb24", *form, "pipe:1"),
    ]
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as said:
        source.write(frames.tobytes())
        source.seek(0)
        process = subprocess.Popen(argv, stdin=source, stdout=subprocess.PIPE, stderr=said, env=ffmpeg.ENVIRONMENT)
        try:
            assert process.stdout is not None
            while len(data := process.stdout.read(height * width * 3)) == height * width * 3:
                yield numpy.frombuffer(data, numpy.uint8).reshape(height, width, 3)
            said.seek(0)
            words = ffmpeg.last_words(said.read().decode("utf-8", "replace"))
            raise EngineFailed(f"ffmpeg ended before it had made every frame between. {words}")
        finally:
            process.kill()
            process.communicate()


def sharpened(frame: Frame) -> Frame:
    """
    Return *frame* with its blurred edges made steep, and all else as it is.

    Each value is moved towards the nearer end of what lies around it, so an edge gets no halo.
    """
    low, high = _around(frame, numpy.minimum), _around(frame, numpy.maximum)
    span = high - low
    is_edge = span > _EDGE_FROM
    made = frame.copy()
    value, bottom, contrast = frame[is_edge], low[is_edge], span[is_edge].astype(numpy.float32)
    place = ((value - bottom) * (255 / contrast)).astype(numpy.uint8)
    share = numpy.minimum((contrast - _EDGE_FROM) / (_EDGE_FULL - _EDGE_FROM), 1)
    made[is_edge] = (value + (bottom + contrast * _CURVE[place] - value) * share).round().astype(numpy.uint8)
    return made


def _steep_curve() -> Weights:
    ramp = numpy.linspace(-0.5, 0.5, 256, dtype=numpy.float32)
    curve = 1 / (1 + numpy.exp(-_STEEPNESS * ramp))
    steep: Weights = ((curve - curve[0]) / (curve[-1] - curve[0])).astype(numpy.float32)
    return steep


_CURVE = _steep_curve()


def _around(frame: Frame, pick: Callable[[Frame, Frame], Frame]) -> Frame:
    """Return for each pixel what *pick* picks of the square of 2 * _EDGE_PX + 1 pixels around it, by channel."""
    padded = numpy.pad(frame, ((_EDGE_PX, _EDGE_PX), (_EDGE_PX, _EDGE_PX), (0, 0)), mode="edge")
    reach = 1
    while reach < 2 * _EDGE_PX + 1:  # each round doubles what a pixel knows of
        step = min(reach, 2 * _EDGE_PX + 1 - reach)
        padded = pick(padded[:-step], padded[step:])
        padded = pick(padded[:, :-step], padded[:, step:])
        reach += step
    return padded


class Canvas:
    """
    Place a square clip in the middle of frames of *width* x *height* pixels, as large as fits.

    What is beside it is *beyond*, a picture of that size; without one it is the clip's own background, whose rows go
    on to both sides and whose first and last row go on upwards and downwards.
    """

    def __init__(self, frames: Frames, width: int, height: int, beyond: Image.Image | None = None) -> None:
        self._side = side = min(width, height)
        self._left, self._top = (width - side) // 2, (height - side) // 2
        self._own_side = frames.shape[1]
        self._rows = _rows_of(frames) if beyond is None else None
        self._beyond = (
            numpy.asarray(beyond) if self._rows is None else _extended(self._enlarged(self._rows), width, height)
        )
        self._weight = _fading(side, across=width > side, down=height > side)

    @property
    def empty(self) -> bytes:
        """The background alone."""
        return self._beyond.tobytes()

    def placed(self, frame: Frame) -> bytes:
        """Return *frame*, a square of the clip's own size, in its place: height * width * 3 bytes."""
        if self._rows is not None:
            frame = _cleaned(frame, self._rows)
        whole = self._beyond.copy()
        rows, columns = slice(self._top, self._top + self._side), slice(self._left, self._left + self._side)
        behind = whole[rows, columns].astype(numpy.float32)
        made = behind + (self._enlarged(frame) - behind) * self._weight
        whole[rows, columns] = made.round().astype(numpy.uint8)
        return whole.tobytes()

    def _enlarged(self, frame: Frame) -> Frame:
        """Return *frame* as large as the square; only what becomes larger is sharpened."""
        picture = Image.fromarray(frame)
        if self._side > self._own_side:
            first = (self._own_side * _SCALE,) * 2
            smooth = picture.resize(first, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(_BLUR_PX))
            picture = Image.fromarray(sharpened(numpy.asarray(smooth)))
        return numpy.asarray(picture.resize((self._side, self._side), Image.Resampling.LANCZOS))


def _cleaned(frame: Frame, rows: Frame) -> Frame:
    """Return *frame* with what hardly differs from its *rows* made equal to them: noise, and traces of a motion."""
    difference = frame.astype(numpy.float32) - rows
    most = Image.fromarray(numpy.abs(difference).max(2).astype(numpy.uint8))
    around = numpy.asarray(most.filter(ImageFilter.MaxFilter(3)).filter(ImageFilter.BoxBlur(1)), numpy.float32)
    share = _smooth((around - _SAME) / (_OTHER - _SAME))[..., None]
    made: Frame = (rows + difference * share).round().astype(numpy.uint8)
    return made


def _smooth(ramp: Weights) -> Weights:
    """Return *ramp* kept between 0 and 1, with no bend at either end."""
    ramp = numpy.clip(ramp, 0, 1)
    smooth: Weights = (ramp * ramp * (3 - 2 * ramp)).astype(numpy.float32)
    return smooth


def _rows_of(frames: Frames) -> Frame:
    """Return the clip's background, one colour a row: the median of both borders over all frames."""
    side = frames.shape[2]
    border = max(1, round(_BORDER * side))
    edges = numpy.concatenate([frames[:, :, :border], frames[:, :, -border:]], axis=2)
    colours = numpy.median(edges, axis=(0, 2)).round().astype(numpy.uint8)
    rows: Frame = colours[:, None].repeat(side, 1)
    return rows


def _extended(square: Frame, width: int, height: int) -> Frame:
    """Return rows like those of *square*, as wide as wanted, with its first and last row going on."""
    above, below = (height - len(square)) // 2, (height - len(square) + 1) // 2
    column = numpy.pad(square[:, :1], ((above, below), (0, 0), (0, 0)), mode="edge")
    wide: Frame = column.repeat(width, 1)
    return wide


def _fading(side: int, *, across: bool, down: bool) -> Weights:
    """Return how much of each pixel of the square is seen, shape (side, side, 1): less at a border that is joined."""
    reach = max(1.0, _FADE * side)
    from_border = numpy.minimum(numpy.arange(side), numpy.arange(side)[::-1]) + 0.5
    smooth = _smooth((from_border / reach).astype(numpy.float32))
    full = numpy.ones(side, numpy.float32)
    weights: Weights = ((smooth if down else full)[:, None] * (smooth if across else full)[None])[..., None]
    return weights
