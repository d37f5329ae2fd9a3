"""The fields that `generate` and `comfyui_i2v` share, as other services name them too. Pure."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from wanworker.actions.request.fields import Crf, NumOutputs, Seconds, UploadUrls
from wanworker.actions.request.lora import MOST_LORAS, LoraField, expert_loras
from wanworker.actions.request.picture import PictureRequest
from wanworker.actions.request.shape import AspectRatio, Resolution, check_size_agrees, frames_for, size_for
from wanworker.media.outputs.upload_url import UploadUrl
from wanworker.spec import Lora, Size

#: Other spellings of the shared fields.
VIDEO_ALIASES = {"duration": "seconds", "n": "num_outputs", "num_videos": "num_outputs"}

#: Fields about the answer. They do not tell one request from another.
_NO_IDENTITY = {"request_id", "return_video", "timeout", "thumbnail", "output_upload_urls"}


class VideoRequest(PictureRequest):
    """Define the fields of a video's length and shape, of several outputs, and of how they are delivered."""

    #: The documented name of the field for the number of frames.
    frames_field: ClassVar[str]

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
    high_noise_loras: tuple[LoraField, ...] = Field(
        default=(), max_length=MOST_LORAS, description="LoRAs of the high-noise expert alone: `[{path, scale}]`."
    )
    low_noise_loras: tuple[LoraField, ...] = Field(
        default=(), max_length=MOST_LORAS, description="LoRAs of the low-noise expert alone."
    )
    crf: Crf | None = Field(default=None, description="Quality of the mp4: 0 is lossless, 51 the smallest file.")
    thumbnail: bool = Field(default=False, description="Return the first frame as a JPEG, a data URI in `thumbnail`.")
    output_upload_urls: UploadUrls = Field(
        default=(), repr=False, description="Presigned PUT URLs, one an output, that get the videos."
    )

    def shape(self, *, default: Size, multiple: int, by_picture: bool) -> tuple[Size, bool]:
        """
        Return the size, and whether it was asked for (else a picture decides its shape). Raises InvalidRequest.
        """
        size = self.checked_size()
        if size is None:
            return size_for(
                self.resolution, self.aspect_ratio, default=default, multiple=multiple, by_picture=by_picture
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

    def expert_loras(self) -> tuple[Lora, ...]:
        """Return the LoRAs that are named for one expert each. Raises InvalidRequest."""
        return expert_loras(self.high_noise_loras, self.low_noise_loras)

    def upload_urls(self, allow_hosts: tuple[str, ...]) -> tuple[UploadUrl, ...]:
        """Return where the outputs are to be put, none or one for each. Raises InvalidRequest, without any URL."""
        return UploadUrl.for_outputs(self.output_upload_urls, self.num_outputs, allow_hosts=allow_hosts)

    def identity(self) -> dict[str, Any]:
        """
        Return the fields that tell this request from others. Their hash is kept with the request id.

        A shared field counts only if it was set, so that the records of older workers keep their hash.
        """
        unset = {name for name in VideoRequest.model_fields if name not in self.model_fields_set}
        kept = {"size", "width", "height"}
        return self.model_dump(mode="json", exclude=_NO_IDENTITY | (unset - kept))
