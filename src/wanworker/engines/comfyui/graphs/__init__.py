"""Choose and fill our graphs for Wan 2.2 on ComfyUI. Pure, except for reading the files."""

from wanworker.engines.comfyui.graphs._workflow import FOLDER, Slot, Workflow, read_workflows, workflow_for
from wanworker.engines.comfyui.graphs.choice.models import ModelChoice
from wanworker.engines.comfyui.graphs.fill import Filled, Uploads, graph_for, missing_for
from wanworker.engines.comfyui.graphs.table import WORKFLOWS

__all__ = [
    "FOLDER",
    "WORKFLOWS",
    "Filled",
    "ModelChoice",
    "Slot",
    "Uploads",
    "Workflow",
    "graph_for",
    "missing_for",
    "read_workflows",
    "workflow_for",
]
