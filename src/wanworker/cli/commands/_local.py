"""What `render` and `plan` share: the job that their options describe, for a worker of this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wanworker.cli import _render_options
from wanworker.cli._base import read_settings
from wanworker.cli._render_options import Source, VideoOptions
from wanworker.client.request import generate_fields, task_of

if TYPE_CHECKING:
    from wanworker.settings import Settings


def job_of(args: VideoOptions, prompt: str | None, action: str) -> tuple[dict[str, Any], Settings]:
    """Return the fields of *action*, and settings under which its files may be read. Raises CommandFailed."""
    fields, files = _render_options.client_fields(args), _render_options.files_of(args)
    payload = {
        **generate_fields(prompt, fields),
        **{f"{file.field}_{'url' if file.url else 'path'}": file.url or str(file.path) for file in files},
        "action": action,
        "task": task_of(fields),
    }
    return payload, _opened_to(files, read_settings())


def _opened_to(files: Sequence[Source], settings: Settings) -> Settings:
    """
    Allow paths in the folders of *files* too, because the person who types a command may read the files that it names.
    """
    folders = [file.path.parent for file in files if not file.url]
    return settings.model_copy(update={"input_dirs": (*settings.input_roots, *folders)})
