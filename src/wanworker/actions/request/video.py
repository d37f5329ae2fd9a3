"""The fields that `generate` and `comfyui_i2v` share, as other services name them too. Pure."""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import Any, ClassVar

from pydantic import Field

from wanworker.actions.request.fields import Crf, Fps, NumOutputs, Seconds, UploadUrls, Upscale
from wanworker.actions.request.lora import LoraRequest
from wanworker.actions.request.picture import PictureRequest
from wanworker.actions.request.shape import AUTO, AspectRatio, Resolution, check_size_agrees, frames_for, size_for
from wanworker.errors import InvalidRequest
from wanworker.media.outputs.upload_url import UploadUrl
from wanworker.spec import TASKS, Size, Task

#: Other spellings of the shared fields.
VIDEO_ALIASES = {
    "duration": "seconds",
    "n": "num_outputs",
    "num_videos": "num_outputs",
    "upscale_factor": "upscale",
    "upscale_model": "upscale",
}

#: How many times as wide and high a clip may be made, if no model is named.
UPSCALE_FACTORS = (2, 4)

_NAME_CHARS = 200

#: The field that turns LoRAs on and off, and those that name some, in requests that have it.
_SWITCH = "use_lora"
_NAMING = ("lora_name", "loras", "high_noise_loras", "low_noise_loras")

#: Fields about the answer. They do not tell one request from another; the last one is that of `plan`.
_NO_IDENTITY = {"request_id", "return_video", "timeout", "thumbnail", "output_upload_urls", "price_per_hour"}


class VideoRequest(PictureRequest, LoraRequest):
    """Define the fields of a video's length and shape, of several outputs, and of how they are delivered."""

    #: The documented name of the field for the number of frames.
    frames_field: ClassVar[str]

    #: The fields of the first release. They are part of every hash, so this list never grows.
    first_fields: ClassVar[frozenset[str]]

    seconds: Seconds | None = Field(default=None, description="Length in seconds, instead of frames.")
    resolution: Resolution | None = Field(
        default=None, description="`480p`, `720p` or `1080p`: the area, instead of size."
    )
    aspect_ratio: AspectRatio | None = Field(
        default=None, description="`16:9`, `9:16`, `1:1` and so on; `auto`: the picture's, else the task's own."
    )
    num_outputs: NumOutputs = Field(
        default=1, description="Videos to make, with seed, seed + 1 and so on; `results` in the answer lists them."
    )
    crf: Crf | None = Field(default=None, description="Quality of the mp4: 0 is lossless, 51 the smallest file.")
    loop: bool = Field(default=False, description="End with the first frame; i2v-A14B only.")
    target_fps: Fps | None = Field(default=None, description="The frame rate of the file; frames are added between.")
    upscale: Upscale | None = Field(default=None, description="2, 4, or the name of an upscale model.")
    soundtrack_url: str | None = Field(default=None, description="A sound to join to the clip, by URL.")
    soundtrack_base64: str | None = Field(default=None, description="A sound to join to the clip, as base64.")
    soundtrack_path: str | None = Field(default=None, description="A sound to join to the clip, by path.")
    thumbnail: bool = Field(default=False, description="Return the first frame as a JPEG, a data URI in `thumbnail`.")
    output_upload_urls: UploadUrls = Field(
        default=(), repr=False, description="Presigned PUT URLs for the videos, one for each output."
    )

    def shape(self, *, default: Size, multiple: int, by_picture: bool, warnings: list[str]) -> tuple[Size, bool]:
        """
        Return the size, and whether it was asked for (else a picture decides its shape). Raises InvalidRequest.

        A shape that is too long for its area is a line in *warnings*.
        """
        size = self.checked_size()
        if size is None:
            return size_for(
                self.resolution,
                self.aspect_ratio,
                default=default,
                multiple=multiple,
                by_picture=by_picture,
                warnings=warnings,
            )
        names = {name: self.spelled(name) for name in ("resolution", "aspect_ratio")}
        names["size"] = self.spelled("size") if self.size is not None else "width and height"
        check_size_agrees(size, self.resolution, self.aspect_ratio, names=names)
        return size, True

    def snapped_frames(self, fps: float, warnings: list[str]) -> int | None:
        """Return the frames, 4n+1, that the request asks for, None if it does not. Raises InvalidRequest."""
        given = getattr(self, self.frames_field) if self.frames_field in self.model_fields_set else None
        names = {"seconds": self.spelled("seconds"), "frames": self.spelled(self.frames_field)}
        return frames_for(self.seconds, given, fps=fps, names=names, warnings=warnings)

    def check_loop(self, task: Task, last: str) -> None:
        """Raise InvalidRequest if *task* cannot do loop, or if there is a picture in the field *last* too."""
        if not self.loop:
            return
        if not task.takes_last_image:
            able = ", ".join(other.name for other in TASKS.values() if other.takes_last_image)
            message = f"loop needs a task that can end in a given frame; {task.name} cannot."
            raise InvalidRequest(message, hint=f"Use the task {able} with a reference image.", field="loop")
        if self.source(last) is not None:
            message = "loop makes the first frame the last one, so there is no place for a last image."
            raise InvalidRequest(message, hint=f"Send loop or {last}, not both.", field="loop")

    def checked_upscale(self) -> tuple[int | None, str | None]:
        """Return the factor or the model by which the clip is enlarged. Raises InvalidRequest."""
        text = "" if self.upscale is None else str(self.upscale).strip()
        number = text.lower().strip("x")
        if number in map(str, UPSCALE_FACTORS):
            return int(number), None
        if self.upscale is not None and (not text or len(text) > _NAME_CHARS or _is_number(number)):
            field = self.spelled("upscale")
            message = f"{field} must be 2, 4 or the name of an upscale model; got {text[:40]!r}."
            raise InvalidRequest(message, field=field)
        return None, text or None

    def upload_urls(self, allow_hosts: tuple[str, ...]) -> tuple[UploadUrl, ...]:
        """Return where the outputs are to be put, none or one for each. Raises InvalidRequest, without any URL."""
        return UploadUrl.for_outputs(self.output_upload_urls, self.num_outputs, allow_hosts=allow_hosts)

    @abstractmethod
    def wanted_size(self, warnings: list[str]) -> tuple[Size, bool]:
        """Return what `shape` returns for the task of the request. Raises InvalidRequest."""

    @abstractmethod
    def wanted_frames(self, warnings: list[str]) -> int | None:
        """Return what `snapped_frames` returns at the frame rate of the request. Raises InvalidRequest."""

    @abstractmethod
    def meant_loras(self) -> dict[str, Any]:
        """Return the fields about LoRAs in one form for all ways to name the same ones. They are not refused."""

    def identity(self) -> dict[str, Any]:
        """
        Return what tells this request from others, the same for every spelling of it. Its hash is kept with the id.

        The fields of the first release always count. Any later field counts only if it says something else than its
        default. So the records of older workers keep their hash, and a request in the documented words has it, too.
        """
        try:
            meant = self.model_copy(update=self.meaning())
        except InvalidRequest:  # it is refused for that, before it is rendered
            return self.former_identity()
        return meant._counting()

    def former_identity(self) -> dict[str, Any]:
        """Return what `identity` returned in the releases before records had a `hash_version`: the spelling counts."""
        used = self.model_copy(update=self._unset_loras()) if self.refuses_loras() else self
        return used._counting()

    def _counting(self) -> dict[str, Any]:
        dumped = self.model_dump(mode="json", exclude=_NO_IDENTITY)
        return {name: value for name, value in dumped.items() if name in self.first_fields or self._says_more(name)}

    def meaning(self) -> dict[str, Any]:
        """Return the fields that have several spellings, each in the plainest. Raises InvalidRequest."""
        size, is_given = self.wanted_size([])
        shape: dict[str, Any] = {} if self.aspect_ratio != AUTO else {"aspect_ratio": None}
        if is_given:
            shape = {"size": str(size), **dict.fromkeys(("width", "height", "resolution", "aspect_ratio"))}
        length = {} if self.seconds is None else {self.frames_field: self.wanted_frames([]), "seconds": None}
        factor, upscaler = self.checked_upscale()
        loras = self._unset_loras() if self.refuses_loras() else self.meant_loras()
        return {
            **self.meant_sources(),
            **shape,
            **length,
            **loras,
            "upscale": factor or upscaler,
        }

    def refuses_loras(self) -> bool:
        """Say whether the request has `use_lora: false`, in words: then it has no LoRA, whichever it names."""
        return _SWITCH in self.model_fields_set and not getattr(self, _SWITCH)

    def refused_loras(self) -> list[str]:
        """Return a line for each field that names a LoRA although `use_lora` is false."""
        if not self.refuses_loras():
            return []
        return [f"{self.spelled(name)} was ignored: use_lora is false." for name in _NAMING if getattr(self, name)]

    def _unset_loras(self) -> dict[str, Any]:
        return {name: type(self).model_fields[name].default for name in (*_NAMING, "lora_strength")}

    def _says_more(self, name: str) -> bool:
        return getattr(self, name) not in {"", type(self).model_fields[name].default}


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?[\d.,]+", text) is not None
