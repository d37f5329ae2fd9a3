"""Clips are written while they come; small ones are brought to the size and number of the file."""

from __future__ import annotations

import threading
import types

import numpy
import pytest
import torch

from wanworker.engines.resident.child._failures import StoppedByParent
from wanworker.engines.resident.child._frame_writer import FrameWriter
from wanworker.errors import DiskFull


def clip(*levels: int) -> numpy.ndarray[tuple[int, int, int, int], numpy.dtype[numpy.uint8]]:
    """Return a clip of grey frames, 4 x 2 pixels."""
    frames = [numpy.full((2, 4, 3), level, numpy.uint8) for level in levels]
    return numpy.stack(frames)


class Recorder:
    """A writer that keeps the level of each frame; it fails after so many, or waits for a gate before each."""

    def __init__(self, *, fails_after: int = 99, gate: threading.Event | None = None) -> None:
        self.levels: list[int] = []
        self._fails_after, self._gate = fails_after, gate

    @property
    def frames(self) -> int:
        return len(self.levels)

    def write(self, frame: bytes) -> None:
        if self._gate is not None:
            assert self._gate.wait(30)
        if self.frames == self._fails_after:
            raise DiskFull("No room.")
        self.levels.append(frame[0])


def film(writer: Recorder, *, frames: int, out_frames: int | None = None) -> FrameWriter:
    wanted = types.SimpleNamespace(
        width=4, height=2, frames=frames, out_width=4, out_height=2, out_frames=out_frames or frames,
        background_only=False,
    )  # fmt: skip
    return FrameWriter(writer, wanted)  # type: ignore[arg-type]


def piece(*shades: float) -> torch.Tensor:
    return torch.stack([torch.full((3, 2, 4), shade) for shade in shades], 1)


def test_pieces_are_written_in_order_and_counted() -> None:
    writer = Recorder()
    with film(writer, frames=5) as made:
        made.add(piece(-1.0))
        made.add(piece(-1.0, 0.0, 1.0, 9.0))

        assert [1, 2, 3, 4, 5] == list(made.written())
    assert [0, 0, 128, 255, 255] == writer.levels


def test_a_small_clip_gets_the_frames_that_were_asked_for() -> None:
    writer = Recorder()
    with film(writer, frames=3, out_frames=2) as made:
        for shade in (-1.0, 0.0, 1.0):
            made.add(piece(shade))

        assert 2 == len(list(made.written()))
    assert [0, 255] == writer.levels


def test_the_next_piece_is_made_while_the_last_is_written() -> None:
    gate = threading.Event()
    writer = Recorder(gate=gate)
    with film(writer, frames=2) as made:
        made.add(piece(0.0))
        made.add(piece(1.0))
        before = writer.frames
        gate.set()

        assert [1, 2] == list(made.written())
    assert 0 == before


def add_all(made: FrameWriter, pieces: int) -> None:
    with made:
        for _ in range(pieces):
            made.add(piece(0.0))
        list(made.written())


def test_what_the_writer_fails_with_is_the_jobs_failure_however_much_more_comes() -> None:
    made = film(Recorder(fails_after=2), frames=90)

    with pytest.raises(DiskFull):
        add_all(made, 90)


def leave_early(made: FrameWriter, pieces: int, gate: threading.Event) -> None:
    with made:
        for _ in range(pieces):
            made.add(piece(0.0))
        gate.set()
        raise StoppedByParent


@pytest.mark.parametrize("added", [0, 1, 3])
def test_a_block_that_is_left_early_ends_the_thread(added: int) -> None:
    gate = threading.Event()
    writer = Recorder(gate=gate)

    with pytest.raises(StoppedByParent):
        leave_early(film(writer, frames=40), added, gate)

    assert writer.frames <= added
    assert not any(thread.name == "film" for thread in threading.enumerate())
