"""A job that is cancelled stops between two latent frames and between two frames of the file, and leaves nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from wanworker.engines.mini import request_for
from wanworker.engines.resident.child._failures import StoppedByParent
from wanworker.engines.resident.child._job import render
from wanworker.engines.resident.child._loading import Loaded, load
from wanworker.engines.resident.protocol import Model, Placement, Render
from wanworker.models.miniature.weights import miniature
from wanworker.spec import RenderSpec, Size

SPEC = RenderSpec(
    task="t2v-A14B", prompt="a red star", size=Size(64, 64), size_given=True, fps=16, fps_given=True, seed=1, steps=1
)


class StopAt:
    """A job that is to stop after the step that is named; it notes what it hears."""

    def __init__(self, stage: str = "", step: int = 0) -> None:
        self.steps: list[tuple[str, int, int]] = []
        self.stages: list[str] = []
        self._at = (stage, step)
        self._stops = False

    def stage(self, name: str) -> None:
        self.stages.append(name)
        self._stops = self._stops or (name, 0) == self._at

    def step(self, stage: str, step: int, steps: int) -> None:
        self.steps.append((stage, step, steps))
        self._stops = self._stops or (stage, step) == self._at

    def must_stop(self) -> bool:
        return self._stops


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return load(Model(str(miniature().folder_of(SPEC.task)), "cpu"), lambda _done, _size: None)


@pytest.fixture
def wanted(tmp_path: Path) -> Render:
    return request_for(SPEC, tmp_path / "out.mp4", 17)


def test_each_latent_frame_and_each_frame_is_told(loaded: Loaded, wanted: Render) -> None:
    hooks = StopAt()

    done = render(loaded, wanted, hooks)

    latent_frames = 1 + (wanted.frames - 1) // 4
    assert ["text", "sampling", "decoding", "encoding"] == hooks.stages
    assert [step for stage, step, _ in hooks.steps if stage == "decoding"] == [*range(1, latent_frames + 1)]
    assert [("encoding", frame, 17) for frame in range(1, 18)] == hooks.steps[-17:]
    assert Path(wanted.out_path).exists()
    assert wanted.placement == done.placement


@pytest.mark.parametrize(("stage", "step"), [("sampling", 1), ("decoding", 2), ("encoding", 3)])
def test_a_stop_is_heeded_at_once_and_leaves_no_file(loaded: Loaded, wanted: Render, stage: str, step: int) -> None:
    hooks = StopAt(stage, step)

    with pytest.raises(StoppedByParent):
        render(loaded, wanted, hooks)

    assert (stage, step) == hooks.steps[-1][:2]
    assert [] == list(Path(wanted.out_path).parent.iterdir())
    assert all(kept is None for kept in loaded.vae._feat_map)


def test_a_stop_while_the_text_is_encoded_makes_no_step(loaded: Loaded, wanted: Render) -> None:
    hooks = StopAt("text")

    with pytest.raises(StoppedByParent):
        render(loaded, wanted, hooks)

    assert (["text"], []) == (hooks.stages, hooks.steps)
    assert [] == list(Path(wanted.out_path).parent.iterdir())


def test_every_placement_gives_the_same_bytes_but_for_what_fast_trades(loaded: Loaded, wanted: Render) -> None:
    path = Path(wanted.out_path)

    def file_in(placement: Placement) -> bytes:
        render(loaded, dataclasses.replace(wanted, placement=placement), StopAt())
        return path.read_bytes()

    whole = file_in(Placement())
    moved = file_in(Placement(experts="slot", text_encoder="evicted", vae="evicted"))
    on_cpu = file_in(Placement(experts="evicted", text_encoder="cpu"))
    fast = file_in(Placement(profile="fast", vae_dtype="bfloat16"))
    tiled = file_in(Placement(profile="fast", vae_dtype="bfloat16", decode="tiled"))
    again = file_in(Placement())

    assert whole == moved == on_cpu == again
    assert whole != fast
    assert len(tiled) > 1000
