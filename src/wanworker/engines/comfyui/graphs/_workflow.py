"""Define a row of the table of graphs, and choose the row that renders a spec. Pure."""

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

#: The folder in the checkout. The image and a laptop both run from a checkout.
FOLDER = Path(__file__).resolve().parents[5] / "workflows"


def read_workflows(folder: Path = FOLDER) -> dict[str, Graph]:
    """
    Return every graph of *folder* by its file without the ending, `finishing/seedvr2` below a folder.

    Raises GraphRefused, OSError, ValueError.
    """
    return {
        path.relative_to(folder).with_suffix("").as_posix(): read_graph(json.loads(path.read_text(encoding="utf-8")))
        for path in sorted(folder.rglob("*.json"))
    }


#: The slots that a request may fill with a file.
Upload = Literal[
    "image", "last_image", "audio", "driving_video", "pose_video", "face_video", "background_video", "mask_video"
]

#: `last_image`: it has one. `step_lora`: use_lora without a name, the model's own few-step LoRA.
Feature = Literal["last_image", "step_lora"]


@dataclass(frozen=True, slots=True)
class Slot:
    """Name a settable input: input *input* of each node that has one of the *titles*."""

    input: str
    titles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Workflow:
    """
    Describe one graph of workflows/, by the name of its file without the ending.

    `weights` are slots too. `models` says after which node the LoRAs of each expert go. `parts` names the nodes that
    are cut out if their upload is not given; every other upload among the slots is required. `segment` is repeated for
    a video of several clips. `decides_fps` marks a model whose frame rate cannot be chosen. `made_for` are the features
    of a request (see `features`) that this graph serves. Of a task's graphs, the one is taken that serves most of the
    requested features and no others.
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
        """Say whether it has a high-noise and a low-noise expert."""
        return len(self.models) == 2


#: The title of the node that writes the video, in every graph.
SAVER = "Save the video"


def features(spec: RenderSpec) -> frozenset[Feature]:
    """Return the features of *spec* that a task may have a separate graph for."""
    asked: dict[Feature, bool] = {
        "last_image": spec.last_image is not None,
        "step_lora": spec.use_lora and not spec.loras,
    }
    return frozenset(name for name, is_asked in asked.items() if is_asked)


def workflow_for(spec: RenderSpec, rows: Iterable[Workflow]) -> Workflow:
    """Return the row of *rows* that renders *spec*. Of two that serve equally many features, it is the later one."""
    asked = features(spec)
    fitting = [row for row in rows if row.task == spec.task and row.made_for <= asked]
    return max(reversed(fitting), key=lambda row: len(row.made_for))
