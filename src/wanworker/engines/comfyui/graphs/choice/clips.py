"""Split a long video into clips where a sound or a driving video decides the length. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wanworker.ranges import RANGES
from wanworker.spec import TASKS, nearest_frames

#: Wan2.2-S2V is trained on clips of 80 frames at 16 a second (wan.md 1.4); 20 latents, which the node writes as 77.
SOUND_CLIP_FRAMES = 80
SOUND_FPS = 16

#: Frames before the first good one that upstream drops as overcooked (wan.md 1.4): we hold the first good one instead.
HELD_FRAMES = 3

#: Animate's clips, and how many frames of the clip before each one takes up: wan.md 1.5 and the node's default, and for
#: Animate-2 the numbers of diffusers' pipeline and of WanAnimate2ToVideo.
_MOTION_CLIPS = {"animate-14B": (77, 5), "animate2-14B": (81, 1)}

#: A last clip of a frame or two is unlike anything the models were trained on: it is longer, and what is over is cut.
_LEAST_LAST_FRAMES = 16


@dataclass(frozen=True, slots=True)
class Clips:
    """The `length` of each clip's node, and how many frames the finished video has."""

    lengths: tuple[int, ...]
    frames: int


def sound_clips(sound_s: float, most_frames: int | None) -> Clips:
    """
    Return the clips for a sound of *sound_s* seconds; *most_frames* caps the video.

    Every clip has 80 frames but the last, which has as many as are needed (in fours, a latent each). The video has at
    least 5 frames: fewer are not left after the held start.
    """
    limit = int(RANGES["frames"].high) if most_frames is None else most_frames
    frames = max(HELD_FRAMES + 2, min(limit, math.ceil(sound_s * SOUND_FPS)))
    full, rest = divmod(frames, SOUND_CLIP_FRAMES)
    lengths = [SOUND_CLIP_FRAMES - 3] * full
    if rest:
        needed = max(rest, _LEAST_LAST_FRAMES) if full else rest
        lengths.append(math.ceil(needed / 4) * 4 - 3)
    return Clips(tuple(lengths), frames)


def motion_clips(task: str, driving_frames: int, most_frames: int | None) -> Clips:
    """
    Return the clips of *task* for a driving video of *driving_frames* frames; *most_frames* caps the video.

    Each clip after the first repeats the last frames of the one before, and is as long as is needed (4n+1).
    """
    whole, overlap = _MOTION_CLIPS[task]
    limit = int(RANGES["frames"].high) if most_frames is None else most_frames
    frames = max(1, min(limit, driving_frames))
    lengths = [_four_n_plus_one(min(frames, whole))]
    left = frames - lengths[0]
    while left > 0:
        needed = max(left, _LEAST_LAST_FRAMES) + overlap
        lengths.append(_four_n_plus_one(min(needed, whole)))
        left -= lengths[-1] - overlap
    return Clips(tuple(lengths), frames)


def film_clip(task: str, asked: int, film_frames: int | None, warnings: list[str]) -> Clips:
    """
    Return the one clip of *task* that follows a film of *film_frames* frames, *asked* or as many as the film has.

    What differs from the request is a line in *warnings*.
    """
    film = TASKS[task].film
    if film_frames is None or film_frames == asked:
        return Clips((asked,), asked)
    if film_frames > asked:
        warnings.append(f"the {film} has {film_frames} frames; its first {asked} were used. frame_num takes more.")
        return Clips((asked,), asked)
    frames = max(1, (film_frames - 1) // 4 * 4 + 1)
    if frames < asked:
        warnings.append(f"frame_num {asked} was changed to {frames}: the {film} has no more.")
    return Clips((frames,), frames)


def _four_n_plus_one(frames: int) -> int:
    nearest = nearest_frames(frames)
    return nearest if nearest >= frames else nearest + 4
