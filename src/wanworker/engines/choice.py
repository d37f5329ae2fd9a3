"""Choose the engine for a spec, and adapt the spec to it. Pure: readiness is an argument."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wanworker.engines.base import EngineRow, Readiness
from wanworker.errors import InvalidRequest, ModelNotFound
from wanworker.spec import TASKS, RenderSpec, Size, size_at_aspect

#: A size within this share of what was asked, on both sides, is close enough to take instead (1280*720 -> 1280*704).
_SNAP_WITHIN = 0.10

#: Shapes that differ by less than this share are one to a picture: 1280*720 and 832*480.
_ONE_SHAPE = 0.05

_MINI = "mini"

_AS_IT_IS = "The task animate2-14B takes a driving video as it is."


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine that renders, the spec as it renders it, and a line for everything that was changed."""

    engine: str
    spec: RenderSpec
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Candidate:
    row: EngineRow
    size: Size | None
    ignored: tuple[str, ...]
    refusal: InvalidRequest | None
    lacking: tuple[str, ...] = ()

    def rank(self, asked: Size) -> tuple[bool, bool, bool, bool]:
        """Order candidates: those that can at all, then this machine's, then every feature, then the size as asked."""
        cannot, is_remote = self.size is None or self.refusal is not None, self.row.remote_slots is not None
        return (cannot, is_remote, bool(self.ignored), self.size != asked)


def choose(
    spec: RenderSpec,
    rows: Sequence[EngineRow],
    readiness: Callable[[str, str], Readiness],
    *,
    asked: str,
    searched: str,
    mini_allowed: bool,
) -> Choice:
    """
    Return the engine for *spec* with the spec fitted to it.

    *asked* is `auto` or an engine's name: a named engine is tried as it is, what the machine lacks becomes a warning.
    *searched* is the models folder, for the documented message. Raises ModelNotFound when nothing can render the
    task, InvalidRequest when the size is impossible, or something else that must not be ignored.
    """
    if asked == "auto":
        candidates = _ready(spec, rows, readiness, searched, mini_allowed)
    else:
        candidates = [_named(spec, rows, readiness, asked, searched)]
    best = min(candidates, key=lambda candidate: candidate.rank(spec.size))
    if best.refusal is not None:
        raise best.refusal
    if best.size is None:
        raise InvalidRequest(_impossible_size(spec, best.row), field="size")
    return _fitted(spec, best, best.size)


def _ready(
    spec: RenderSpec,
    rows: Sequence[EngineRow],
    readiness: Callable[[str, str], Readiness],
    searched: str,
    mini_allowed: bool,
) -> list[_Candidate]:
    known = {row.name: readiness(row.name, spec.task) for row in rows}
    ready = [row for row in rows if known[row.name].is_ready]
    real = [row for row in ready if row.name != _MINI]
    if real:
        return [_candidate(spec, row) for row in real]
    if ready and mini_allowed:
        return [_candidate(spec, row) for row in ready]
    raise _model_not_found(spec, rows, {name: known[name] for name in _renderers(spec, rows)}, searched)


def _named(
    spec: RenderSpec,
    rows: Sequence[EngineRow],
    readiness: Callable[[str, str], Readiness],
    asked: str,
    searched: str,
) -> _Candidate:
    row = next(row for row in rows if row.name == asked)
    if spec.task not in row.capabilities.tasks:
        tasks = ", ".join(sorted(row.capabilities.tasks))
        message = f"Engine {asked!r} does not render {spec.task}; it renders {tasks}."
        raise InvalidRequest(
            message, hint=f"{spec.task} is rendered by {', '.join(_renderers(spec, rows))}.", field="engine"
        )
    state = readiness(asked, spec.task)
    # Weights that the request names are the engine's to find: it knows no families of those.
    if not state.has_weights and not spec.diffusion_models:
        raise _model_not_found(spec, rows, {asked: state}, searched)
    return _candidate(spec, row, state.lacking)


def _renderers(spec: RenderSpec, rows: Sequence[EngineRow]) -> list[str]:
    return [row.name for row in rows if spec.task in row.capabilities.tasks and row.name != _MINI]


def _candidate(spec: RenderSpec, row: EngineRow, lacking: tuple[str, ...] = ()) -> _Candidate:
    return _Candidate(row, _possible_size(spec, row), _ignored_features(spec, row), _refusal(spec, row), lacking)


def _refusal(spec: RenderSpec, row: EngineRow) -> InvalidRequest | None:
    """Return the error for what *row* cannot do, where a video without it would not be what was asked for."""
    can, upscaler = row.capabilities, spec.upscale_model
    if TASKS[spec.task].takes_prepared and spec.driving_video is not None and not can.prepares_motion:
        message = f"{row.name} renders {spec.task} from a prepared folder only, not from a driving video."
        hint = "Send prepared_path, a folder made by Wan's preprocess_data.py, or use the wan_cli engine."
        return InvalidRequest(message, hint=f"{hint} {_AS_IT_IS}", field="driving_video_url")
    if spec.loop and spec.task not in can.last_image:
        message = f"loop needs an engine that can end in a given frame; {row.name} cannot."
        return InvalidRequest(message, hint="Use the diffusers or the comfyui engine.", field="loop")
    if upscaler is not None and not can.upscale_models:
        message = f"upscale {upscaler!r} names a model, and {row.name} runs no upscale models."
        return InvalidRequest(message, hint="Use the comfyui engine, or upscale 2 or 4.", field="upscale")
    return None


def _ignored_features(spec: RenderSpec, row: EngineRow) -> tuple[str, ...]:
    can = row.capabilities
    asked_and_possible = {
        "negative_prompt": (bool(spec.negative_prompt), can.negative_prompt),
        "use_lora": (spec.use_lora or bool(spec.loras), can.lora),
        "fps": (spec.fps_given and spec.fps != TASKS[spec.task].fps, can.fps),
        "last_image": (spec.last_image is not None, spec.task in can.last_image),
        "guidance_scale_2": (spec.guidance_low is not None and _has_experts(spec), can.guidance_per_expert),
        "profile": (spec.profile is not None, can.profiles),
        "diffusion_model": (bool(spec.diffusion_models), can.names_models),
        "vae_model": (spec.vae_model is not None, can.names_models),
    }
    return tuple(name for name, (asked, possible) in asked_and_possible.items() if asked and not possible)


def _has_experts(spec: RenderSpec) -> bool:
    return TASKS[spec.task].boundary is not None


def _possible_size(spec: RenderSpec, row: EngineRow) -> Size | None:
    """Return the size that *row* would render for *spec*, None when none is near enough to what was asked."""
    if row.capabilities.any_size:
        return spec.size
    listed = _shaped(spec, row) or row.capabilities.sizes.get(spec.task)
    nearest = _nearest(spec.size, listed) if listed else spec.size.snapped(TASKS[spec.task].size_multiple)
    if not spec.size_given or _is_close(nearest, spec.size):
        return nearest
    return None


def _shaped(spec: RenderSpec, row: EngineRow) -> list[Size]:
    """
    Return the listed sizes at whose area the picture's shape keeps both sides in range.

    An engine with a list takes the area of its size and the shape of the picture.
    """
    multiple = TASKS[spec.task].size_multiple
    listed = row.capabilities.sizes.get(spec.task, ())
    return [size for size in listed if size_at_aspect(spec.size.aspect, size.area, multiple).area > size.area * 0.9]


def _leaves_the_range(spec: RenderSpec, row: EngineRow) -> bool:
    """Say whether *row* would render a picture's shape with a side out of range, whichever size it is told."""
    keeps = spec.task in row.capabilities.keeps_picture_aspect
    return keeps and spec.image is not None and not spec.size_given and not _shaped(spec, row)


def _nearest(asked: Size, listed: Sequence[Size]) -> Size:
    """Return the listed size that is close to *asked*, else of the nearest shape, then the one of the nearest area."""
    alike = [size for size in listed if _is_close(size, asked)]
    if not alike:
        # The shape first: a picture must not be turned.
        off = {size: abs(math.log(size.aspect / asked.aspect)) for size in listed}
        alike = [size for size in listed if off[size] <= min(off.values()) + _ONE_SHAPE]
    return min(alike, key=lambda size: abs(size.area - asked.area))


def _is_close(size: Size, asked: Size) -> bool:
    sides = ((size.width, asked.width), (size.height, asked.height))
    return all(abs(got - wanted) <= wanted * _SNAP_WITHIN for got, wanted in sides)


def _fitted(spec: RenderSpec, chosen: _Candidate, size: Size) -> Choice:
    name = chosen.row.name
    warnings = [f"{name}: {line}; tried all the same because the request names this engine" for line in chosen.lacking]
    if spec.size_given and size != spec.size:
        warnings.append(f"size {spec.size} is not possible with {name}; rendered at {size}.")
    warnings += [
        f"{feature} was ignored: the {name} engine that rendered this cannot use it." for feature in chosen.ignored
    ]
    changes: dict[str, object] = {"size": size} | _dropped(spec, chosen.ignored)
    if _leaves_the_range(spec, chosen.row):
        changes["size_given"] = True  # the picture is cropped to it, as if it had been asked for
    if spec.guidance_low is not None and not _has_experts(spec):
        changes["guidance_low"] = None
        warnings.append(f"guidance_scale_2 was ignored: {spec.task} has one expert.")
    return Choice(name, dataclasses.replace(spec, **changes), tuple(warnings))  # type: ignore[arg-type]


def _dropped(spec: RenderSpec, ignored: tuple[str, ...]) -> dict[str, object]:
    """Return the spec's fields without what the engine cannot use, so that it need not look for it."""
    neutral: dict[str, dict[str, object]] = {
        "negative_prompt": {"negative_prompt": None},
        "use_lora": {"use_lora": False, "loras": ()},
        "fps": {"fps": float(TASKS[spec.task].fps), "fps_given": False},
        "last_image": {"last_image": None},
        "guidance_scale_2": {"guidance_low": None},
        "profile": {"profile": None},
        "diffusion_model": {"diffusion_models": (), "single_expert": False},
        "vae_model": {"vae_model": None},
    }
    return {key: value for name in ignored for key, value in neutral[name].items()}


def _impossible_size(spec: RenderSpec, row: EngineRow) -> str:
    listed = row.capabilities.sizes.get(spec.task)
    if listed:
        known = ", ".join(str(size) for size in listed)
        return f"size {spec.size} is not possible for {spec.task} with {row.name}; possible: {known}."
    multiple = TASKS[spec.task].size_multiple
    return f"size {spec.size} is not possible for {spec.task}: both sides must be near a multiple of {multiple}."


#: The last line of the hint, because whoever sees it wants the weights.
_HOW_TO_GET_THEM = "wanworker doctor, on the worker's machine, names the command that fetches what is missing."


def _model_not_found(
    spec: RenderSpec, rows: Sequence[EngineRow], states: dict[str, Readiness], searched: str
) -> ModelNotFound:
    folder = TASKS[spec.task].folder
    lines = [f"{name}: {'; '.join((*state.missing, *state.lacking))}" for name, state in states.items()]
    able = _renderers(spec, rows)
    if len(able) == 1:
        lines.insert(0, f"only the {able[0]} engine renders {spec.task}")
    places = dict.fromkeys(place for state in states.values() for place in state.searched)
    if places:
        lines.append(f"Searched: {', '.join(places)}")
    if lines:
        lines.append(_HOW_TO_GET_THEM)
    return ModelNotFound(f"Model '{folder}' not found in {searched.rstrip('/')}/", hint="\n".join(lines) or None)
