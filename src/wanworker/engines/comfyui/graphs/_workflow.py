"""One row of the table of graphs, and the choice of the row that renders a spec. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from wanworker.comfyui.graph.api_format import Graph, read_graph
from wanworker.engines.comfyui.graphs._wiring import Segment
from wanworker.engines.comfyui.graphs.choice.models import Weights
from wanworker.models.files.loras import Expert
from wanworker.spec import RenderSpec

#: The checkout's own folder: the image and a laptop both run from a checkout.
FOLDER = Path(__file__).resolve().parents[5] / "workflows"


def read_workflows(folder: Path = FOLDER) -> dict[str, Graph]:
    """Return every graph of *folder* by the name of its file. Raises GraphRefused, OSError, ValueError."""
    return {
        path.stem: read_graph(json.loads(path.read_text(encoding="utf-8"))) for path in sorted(folder.glob("*.json"))
    }


#: What the request may bring as a file.
Upload = Literal["image", "last_image", "audio", "pose_video", "face_video", "background_video", "mask_video"]

#: `last_image`: it has one. `step_lora`: use_lora without a name, the model's own few-step LoRA.
Feature = Literal["last_image", "step_lora"]


@dataclass(frozen=True, slots=True)
class Slot:
    """A settable input: input *input* of each node titled one of *titles*."""

    input: str
    titles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Workflow:
    """
    One graph of workflows/, by the name of its file without the ending.

    `weights` are slots too. `models` says after which node the LoRAs of each expert go. `parts` names the nodes that
    are cut out when their upload is not given; every other upload among the slots is required. `segment` is what is
    repeated for a video of several clips. `decides_fps` marks a model whose frame rate is not the request's to choose.
    `made_for` are the features of a request (see `features`) that this graph is for: of a task's graphs the one is
    taken that is made for most of what is asked, and for nothing else.
    """

    name: str
    task: str
    slots: Mapping[str, Slot]
    weights: Mapping[str, Weights]
    models: Mapping[Expert, str]
    parts: Mapping[Upload, tuple[str, ...]] = field(default_factory=dict)
    segment: Segment | None = None
    decides_fps: bool = False
    made_for: frozenset[Feature] = frozenset()

    @property
    def is_pair(self) -> bool:
        """It has a high-noise and a low-noise expert."""
        return len(self.models) == 2


#: The title that the node which writes the video has in every graph.
SAVER = "Save the video"


def features(spec: RenderSpec) -> frozenset[Feature]:
    """Return what *spec* asks that a task may have a graph of its own for."""
    asked: dict[Feature, bool] = {
        "last_image": spec.last_image is not None,
        "step_lora": spec.use_lora and not spec.loras,
    }
    return frozenset(name for name, is_asked in asked.items() if is_asked)


def workflow_for(spec: RenderSpec, rows: Iterable[Workflow]) -> Workflow:
    """Return the row of *rows* that renders *spec*; of two made for as much, the later one."""
    asked = features(spec)
    fitting = [row for row in rows if row.task == spec.task and row.made_for <= asked]
    return max(reversed(fitting), key=lambda row: len(row.made_for))
