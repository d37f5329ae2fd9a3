"""Fill a graph for a spec: choose the graph, its files and its steps, and set every slot. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, get_args

from wanworker.comfyui.graph.api_format import Graph, with_slot
from wanworker.engines.base import Forecast
from wanworker.engines.comfyui.graphs._exact_noise import with_noise
from wanworker.engines.comfyui.graphs._finishing import with_finish
from wanworker.engines.comfyui.graphs._wiring import bypassed, cut, node_titled, with_clips, without_unused
from wanworker.engines.comfyui.graphs._workflow import SAVER, Upload, Workflow, workflow_for
from wanworker.engines.comfyui.graphs.choice import loras as lora_files
from wanworker.engines.comfyui.graphs.choice import models as model_files
from wanworker.engines.comfyui.graphs.choice.clips import HELD_FRAMES, Clips, film_clip, motion_clips, sound_clips
from wanworker.engines.comfyui.graphs.choice.models import Available, ModelChoice
from wanworker.engines.comfyui.graphs.choice.sampling import Plan, plan_for
from wanworker.engines.comfyui.graphs.table import WORKFLOWS
from wanworker.errors import InvalidRequest
from wanworker.models.files.loras import Expert
from wanworker.recipes.sampling import Sampling, in_vain
from wanworker.spec import TASKS, RenderSpec, Size

_BOTH: tuple[Expert, Expert] = ("high", "low")

#: The boundary for an expert that renders alone, to the finished picture.
_ALONE = {"add_noise": "enable", "end_at_step": 10000, "return_with_leftover_noise": "disable"}

_HINTS = {
    "pose_video": "ComfyUI's own nodes find no pose in a video: send prepared_path, a folder with src_ref.png, "
    "src_pose.mp4 and src_face.mp4 made by Wan's preprocess_data.py, or use the wan_cli engine. The task animate2-14B "
    "takes a driving video as it is."
}


@dataclass(frozen=True, slots=True)
class Uploads:
    """
    Hold the server's names of the job's files, and facts that are only in the files.

    `audio_s` is the length of the sound in seconds, `driving_frames` the number of frames of `driving_video` or
    `pose_video`. The four videos are those of a prepared folder (src_pose, src_face, src_bg, src_mask). `audio` may be
    a video with sound. `notes` has a line for each change that was made to a file.
    """

    image: str | None = None
    last_image: str | None = None
    audio: str | None = None
    audio_s: float | None = None
    pose_video: str | None = None
    face_video: str | None = None
    background_video: str | None = None
    mask_video: str | None = None
    driving_video: str | None = None
    driving_frames: int | None = None
    notes: tuple[str, ...] = ()

    def given(self) -> dict[Upload, str]:
        """Return slot -> name of every file that there is."""
        names = {slot: getattr(self, slot) for slot in get_args(Upload)}
        return {slot: name for slot, name in names.items() if name is not None}


@dataclass(frozen=True, slots=True)
class Filled:
    """
    Hold a graph that is ready to be queued.

    `steps` are the steps of each sampler by node id, in the order in which they run. `saver` is the id of the node that
    writes the video. `model` names the weights. `frames` is how many frames the video has, and `fps` how fast they
    follow one another, None where the driving video decides.
    """

    workflow: str
    graph: Graph
    warnings: tuple[str, ...]
    steps: Mapping[str, int]
    saver: str
    model: str
    frames: int
    fps: float | None
    sampling: Sampling

    def forecast(self, size: Size, remarks: Sequence[str] = (), unknown: tuple[str, ...] = ()) -> Forecast:
        """Return what is known of the video before the graph runs; *remarks* are the server's on the graph."""
        if self.fps is None:
            unknown = ("fps: the driving video decides it.", *unknown)
        warnings = (*self.warnings, *remarks)
        return Forecast(self.model, self.sampling, size, self.frames, self.fps, warnings, unknown=unknown)


def missing_for(
    task: str, available: Available, flaws: Mapping[str, Mapping[str, str]] = MappingProxyType({})
) -> tuple[str, ...]:
    """
    Return `folder/file` of the weights that *task* needs and that are not *available*; damaged ones are marked so.
    """
    return model_files.missing(WORKFLOWS[task].weights.values(), available, flaws)


def graph_for(
    spec: RenderSpec,
    models: ModelChoice,
    uploads: Uploads,
    request_id: str,
    *,
    graphs: Mapping[str, Graph],
    available: Available,
    models_dir: str,
    rows: Iterable[Workflow] = tuple(WORKFLOWS.values()),
) -> Filled:
    """
    Return the graph that renders *spec*. Each choice and change becomes a line in its warnings.

    *graphs* are those of workflows/ by name, *available* the server's model files by folder. *models_dir* is named in
    the documented sentence. Raises ModelNotFound, and InvalidRequest for a missing file or an unknown solver.
    """
    workflow = workflow_for(spec, rows)
    _check_uploads(workflow, uploads)
    warnings = list(uploads.notes)
    files = model_files.choose(workflow.weights, models, available, models_dir, warnings)
    experts = _experts(workflow, files)
    loras = lora_files.choose(spec, experts, available, models_dir, warnings)
    model_names, own_loras = (_of_folder(workflow, files, folder) for folder in ("diffusion_models", lora_files.FOLDER))
    plan = plan_for(spec, experts, warnings, models=model_names, loras=[*own_loras, *(lora.file for lora in loras)])
    clips = _clips(spec, workflow, uploads, warnings)
    _say_ignored(spec, workflow, plan, uploads, warnings)

    graph = _set_slots(graphs[workflow.name], workflow, {**_values(spec, plan, clips, request_id), **files}, uploads)
    graph = lora_files.with_loras(graph, loras, workflow.models)
    graph, samplers = _shaped(graph, workflow, plan, clips, spec.seed)
    if plan.noise and not workflow.is_pair:
        for title in samplers:
            graph = with_noise(graph, title, plan.noise)
    finder = model_files.Finder(available, models_dir)
    graph = with_finish(without_unused(graph, SAVER), spec, clips.frames, finder, graphs, warnings)
    runs = plan.runs if len(plan.runs) > 1 else plan.runs * len(samplers)
    return Filled(
        workflow.name,
        graph,
        tuple(warnings),
        steps={node_titled(graph, title): run for title, run in zip(samplers, runs, strict=True)},
        saver=node_titled(graph, SAVER),
        model=" + ".join(model_names),
        frames=clips.frames,
        fps=_fps(spec, workflow),
        sampling=plan.sampling,
    )


def _fps(spec: RenderSpec, workflow: Workflow) -> float | None:
    if not workflow.decides_fps:
        return float(spec.fps)
    return None if "pose_video" in workflow.slots else float(TASKS[spec.task].fps)


def _of_folder(workflow: Workflow, files: Mapping[str, str], folder: str) -> list[str]:
    return [name for slot, name in files.items() if workflow.weights[slot].folder == folder]


def _check_uploads(workflow: Workflow, uploads: Uploads) -> None:
    given = uploads.given()
    for slot in get_args(Upload):
        if slot in workflow.slots and slot not in workflow.parts and slot not in given:
            message = f"{workflow.task} needs {slot.replace('_', ' ')} on ComfyUI."
            raise InvalidRequest(message, hint=_HINTS.get(slot), field=slot)


def _experts(workflow: Workflow, files: Mapping[str, str]) -> tuple[Expert, ...]:
    if not workflow.is_pair:
        return ("high",)
    present = {workflow.weights[slot].expert for slot in files}
    return tuple(expert for expert in _BOTH if expert in present)


def _clips(spec: RenderSpec, workflow: Workflow, uploads: Uploads, warnings: list[str]) -> Clips:
    if workflow.segment is None:
        return film_clip(spec.task, spec.frames or TASKS[spec.task].frames or 81, uploads.driving_frames, warnings)
    if not TASKS[spec.task].needs_driving_video:
        if uploads.audio_s is None:
            raise InvalidRequest(f"{spec.task} needs the length of the sound in seconds.", field="audio")
        return sound_clips(uploads.audio_s, spec.frames)
    if uploads.driving_frames is None:
        raise InvalidRequest(f"{spec.task} needs the number of frames of the driving video.", field="driving_video")
    clips = motion_clips(spec.task, uploads.driving_frames, spec.frames)
    if spec.frames is not None and clips.frames < spec.frames:
        warnings.append(f"frame_num {spec.frames} was changed to {clips.frames}: the driving video has no more.")
    return clips


def _say_ignored(spec: RenderSpec, workflow: Workflow, plan: Plan, uploads: Uploads, warnings: list[str]) -> None:
    if workflow.decides_fps and spec.fps_given and spec.fps != TASKS[spec.task].fps:
        why = "the driving video decides" if "pose_video" in workflow.slots else "the lips move at 16"
        warnings.append(f"fps {spec.fps:g} was ignored for {spec.task}: {why}.")
    if spec.guidance_low is not None and not workflow.is_pair:
        warnings.append(f"guidance_scale_2 was ignored: {spec.task} has one expert.")
    elif spec.guidance_low is not None and "low" not in plan.experts:
        warnings.append("guidance_scale_2 was ignored: the high-noise expert renders alone.")
    warnings += in_vain(spec, _guidance_used(workflow, plan), is_apart=True)
    if spec.denoise is not None and "first_step" not in workflow.slots:
        warnings.append(f"denoise was ignored: {spec.task} starts from noise.")
    unused = [slot for slot in uploads.given() if slot not in workflow.slots]
    warnings += [f"{slot} was ignored: {spec.task} does not take one." for slot in unused]


def _guidance_used(workflow: Workflow, plan: Plan) -> tuple[float, float]:
    """Return the guidance (low, high) of the samplers that run: that of one expert stands for both."""
    low, high = plan.guidance
    if not workflow.is_pair or "low" not in plan.experts:
        return high, high
    return (low, high) if "high" in plan.experts else (low, low)


def _values(spec: RenderSpec, plan: Plan, clips: Clips, request_id: str) -> dict[str, Any]:
    """Return slot -> value of everything but files. Without a negative prompt, the graph's own stays."""
    values: dict[str, Any] = {
        "prompt": spec.prompt,
        "width": spec.size.width,
        "height": spec.size.height,
        "frames": clips.frames,
        "frames_after_hold": clips.frames - HELD_FRAMES,
        "fps": float(spec.fps),
        "seed": spec.seed,
        "steps": plan.steps,
        "first_step": plan.first,
        "high_noise_end": plan.first + plan.runs[0],
        "low_noise_start": plan.first + plan.runs[0],
        "guidance": plan.guidance[1],
        "guidance_low": plan.guidance[0],
        "shift": plan.shift,
        "sampler": plan.sampler,
        "filename_prefix": f"wanworker/{request_id}",
    }
    if spec.negative_prompt is not None:
        values["negative_prompt"] = spec.negative_prompt
    return values


def _set_slots(graph: Graph, workflow: Workflow, values: Mapping[str, Any], uploads: Uploads) -> Graph:
    """Return the graph with every slot set that has a value, and without the parts whose file is not given."""
    given = uploads.given()
    known = dict(values) | given
    for name, slot in workflow.slots.items():
        for title in slot.titles if name in known else ():
            graph = with_slot(graph, title, slot.input, known[name])
    return cut(graph, [title for part, titles in workflow.parts.items() if part not in given for title in titles])


def _shaped(graph: Graph, workflow: Workflow, plan: Plan, clips: Clips, seed: int) -> tuple[Graph, tuple[str, ...]]:
    """
    Return the graph with the experts and clips that it needs, and its samplers' titles in the order in which they run.
    """
    if workflow.segment is not None:
        return with_clips(graph, workflow.segment, clips.lengths, seed)
    samplers = workflow.slots["steps"].titles
    if not workflow.is_pair or len(plan.experts) == 2:
        return graph, samplers
    alone, other = samplers if plan.experts[0] == "high" else reversed(samplers)
    graph = bypassed(graph, other, "latent_image")
    for name, value in (_ALONE | {"start_at_step": plan.first}).items():
        graph = with_slot(graph, alone, name, value)
    return graph, (alone,)
