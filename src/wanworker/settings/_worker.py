"""Define all settings, frozen, and read the environment. docs/configuration.md lists them."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from wanworker.settings._bucket import BucketSettings
from wanworker.settings._engines import Card, EngineSettings
from wanworker.settings._rest import RestSettings
from wanworker.settings._runpod import RunPodSettings
from wanworker.text import secrets

#: The tasks of spec.TASKS, which settings may not import, and `comfyui`, whose server serves them all.
Preloaded = Literal["t2v-A14B", "i2v-A14B", "ti2v-5B", "s2v-14B", "animate-14B",
                    "vace-A14B", "v2v-A14B", "animate2-14B", "comfyui"]  # fmt: skip


def _comma_separated(value: Any) -> list[str]:
    """Return the parts of a text or of a list, without blanks and empty parts."""
    parts = value.split(",") if isinstance(value, str) else [str(part) for part in value]
    return [part.strip() for part in parts if part.strip()]


class StartSettings(BaseModel):
    """Define what is loaded in the background while the worker takes its first job."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    preload: tuple[Preloaded, ...] = Field(
        default=(),
        validation_alias="WAN_PRELOAD",
        description="What is loaded in the background at the start: engines by task, and `comfyui`, the server.",
    )

    @field_validator("preload", mode="before")
    @classmethod
    def _split_preload(cls, value: Any) -> Any:
        return tuple(dict.fromkeys(_comma_separated(value)))


EngineName = Literal["auto", "diffusers", "comfyui", "wan_cli", "mini", "runpod"]

#: The variables that a child process may see. Keys and tokens are not among them.
_CHILD_VARIABLES = frozenset((
    "PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "LD_PRELOAD",
    "VIRTUAL_ENV", "PYTHONPATH", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "TORCH_HOME",
    "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "XDG_CACHE_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR",
))  # fmt: skip
_CHILD_PREFIXES = ("CUDA_", "NVIDIA_", "NCCL_", "PYTORCH_", "OMP_", "MKL_", "OPENBLAS_", "DIFFUSERS_", "TOKENIZERS_")


def _volume_dir() -> Path:
    """Return the network volume: /runpod-volume on serverless, else /workspace on a pod, else the current folder."""
    for place in (Path("/runpod-volume"), Path("/workspace")):
        if place.is_dir():
            return place
    return Path.cwd()


class Settings(StartSettings, EngineSettings, RestSettings, BucketSettings, RunPodSettings):
    """Hold every setting with its type, unit, range and default. A bad value raises before a job is taken."""

    wan_home: Path = Field(
        default=Path("/workspace/Wan2.2"),
        validation_alias="WAN_HOME",
        description="Upstream's checkout, for the wan_cli engine.",
    )
    ckpt_dir: Path = Field(
        default_factory=lambda: _volume_dir() / "models",
        validation_alias="WAN_CKPT_DIR",
        description="The models folder. Also searched: /workspace/models, /runpod-volume, the hub's cache.",
    )
    out_dir: Path = Field(
        default_factory=lambda: _volume_dir() / "outputs",
        validation_alias="WAN_OUT_DIR",
        description="Where videos and job records are kept; made if missing.",
    )
    engine: EngineName = Field(
        default="auto", validation_alias="WAN_ENGINE", description="The engine of jobs that do not name one."
    )
    profile: Literal["exact", "fast"] = Field(
        default="exact",
        validation_alias="WAN_PROFILE",
        description="What the diffusers engine may trade for time in jobs that name no profile: `exact` nothing, "
        "`fast` a little of the picture.",
    )
    wan_python: Path | None = Field(
        default=None,
        validation_alias="WAN_PYTHON",
        description="The interpreter of upstream's own environment. Default: WAN_HOME/.venv/bin/python if it is "
        "there, else the worker's own.",
    )
    mini: bool = Field(
        default=True,
        validation_alias="WAN_MINI",
        description="Whether the embedded miniature model renders where no real engine can.",
    )
    allow_hosts: tuple[str, ...] = Field(
        default=(),
        validation_alias="WAN_ALLOW_HOSTS",
        description="Private hosts (names or addresses, comma-separated) that inputs may come from.",
    )
    input_dirs: tuple[Path, ...] = Field(
        default=(),
        validation_alias="WAN_INPUT_DIRS",
        description="Folders (comma-separated) that path inputs may lie in. Default: the volume's `inputs` folder.",
    )
    workflows: Path | None = Field(
        default=None,
        validation_alias="WAN_WORKFLOWS",
        description="The folder of the workflows that jobs call by name. Default: `workflows` beside WAN_CKPT_DIR.",
    )
    job_timeout_s: float = Field(
        default=3600,
        ge=1,
        le=86_400,
        validation_alias="JOB_TIMEOUT_S",
        description="The deadline of a job without a `timeout`, in seconds.",
    )
    max_answer_bytes: int | None = Field(
        default=None,
        ge=100_000,
        validation_alias="MAX_ANSWER_BYTES",
        description="The largest JSON answer. Default: RunPod's own limits, 20 MB for /runsync and 10 MB for /run.",
    )
    comfyui_url: str | None = Field(
        default=None, validation_alias="COMFYUI_URL", description="A ComfyUI server; overrides host and port."
    )
    comfyui_host: str = Field(
        default="127.0.0.1", validation_alias="COMFYUI_HOST", description="The ComfyUI server's host."
    )
    comfyui_port: int = Field(
        default=8188, ge=1, le=65_535, validation_alias="COMFYUI_PORT", description="The ComfyUI server's port."
    )
    comfyui_root: Path | None = Field(
        default=None,
        validation_alias="COMFYUI_ROOT",
        description="A ComfyUI checkout; the worker starts and supervises its server. COMFYUI_URL overrides it.",
    )
    comfyui_python: Path | None = Field(
        default=None,
        validation_alias="COMFYUI_PYTHON",
        description="The interpreter of ComfyUI's own environment. Default: COMFYUI_ROOT/.venv or venv, else the "
        "worker's own.",
    )
    comfyui_args: tuple[str, ...] = Field(
        default=(),
        validation_alias="COMFYUI_ARGS",
        description="More arguments for ComfyUI's main.py, such as `--lowvram`. They override the worker's own.",
    )
    comfyui_token: SecretStr | None = Field(
        default=None, validation_alias="COMFYUI_TOKEN", description="The bearer token of the server at COMFYUI_URL."
    )
    comfyui_wait_s: float = Field(
        default=900,
        ge=1,
        le=86_400,
        validation_alias="COMFYUI_WAIT_S",
        description="How long ComfyUI's start may take, in seconds, while its process lives and its log grows.",
    )
    hf_token: SecretStr | None = Field(
        default=None, validation_alias="HF_TOKEN", description="The Hugging Face token that `wanworker fetch` sends."
    )
    hf_endpoint: str = Field(
        default="https://huggingface.co",
        validation_alias="HF_ENDPOINT",
        description="The hub, or a mirror of it, that `wanworker fetch` downloads from.",
    )
    hf_home: Path = Field(
        default=Path("~/.cache/huggingface"),
        validation_alias="HF_HOME",
        description="Hugging Face's folder. The cache below it is searched for weights.",
    )
    hf_hub_cache: Path | None = Field(
        default=None, validation_alias="HF_HUB_CACHE", description="The hub's cache. Default: HF_HOME/hub."
    )

    @field_validator("allow_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: Any) -> Any:
        return tuple(part.lower() for part in _comma_separated(value))

    @field_validator("input_dirs", mode="before")
    @classmethod
    def _split_dirs(cls, value: Any) -> Any:
        return tuple(Path(part) for part in _comma_separated(value))

    @field_validator("comfyui_args", mode="before")
    @classmethod
    def _split_arguments(cls, value: Any) -> Any:
        return tuple(shlex.split(value)) if isinstance(value, str) else value

    @property
    def comfyui_base_url(self) -> str:
        """Return the ComfyUI server's address without a slash at the end."""
        return (self.comfyui_url or f"http://{self.comfyui_host}:{self.comfyui_port}").rstrip("/")

    @property
    def scratch_dir(self) -> Path:
        """Return a folder on this machine's own disk for files that only this worker uses."""
        return Path(tempfile.gettempdir()) / "wanworker"

    @property
    def jobs_dir(self) -> Path:
        """Return the folder of the job records."""
        return self.out_dir / "jobs"

    @property
    def model_dirs(self) -> tuple[Path, ...]:
        """Return the folders that are searched for weights, in order, without repetition."""
        volumes = (Path("/workspace/models"), Path("/runpod-volume/models"), Path("/runpod-volume"))
        return tuple(dict.fromkeys((self.ckpt_dir, *volumes, *self.hub_cache_dirs)))

    @property
    def hub_cache_dirs(self) -> tuple[Path, ...]:
        """Return where Hugging Face's cache may be: RunPod's own for cached models, then this user's."""
        own = self.hf_hub_cache or self.hf_home / "hub"
        return tuple(dict.fromkeys((Path("/runpod-volume/huggingface-cache/hub"), own.expanduser())))

    @property
    def input_roots(self) -> tuple[Path, ...]:
        """Return the folders that path inputs may lie in."""
        return self.input_dirs or (_volume_dir() / "inputs",)

    @property
    def workflows_dir(self) -> Path:
        """Return the folder of the workflows that jobs call by name."""
        return self.workflows or self.ckpt_dir.parent / "workflows"

    @property
    def wan_interpreter(self) -> Path:
        """Return the interpreter that runs upstream's generate.py."""
        own = self.wan_home / ".venv" / "bin" / "python"
        return self.wan_python or (own if own.is_file() else Path(sys.executable))


class BadSettings(Exception):
    """The environment has a value that the worker cannot start with. The text names the variable."""


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """
    Read the environment once. An empty variable counts as not set.

    From then on, the secrets among the values are blotted out of errors and logs. Raises BadSettings naming each wrong
    variable, without its value. (pydantic-settings is not used: it would cost 5 MB of memory.)
    """
    source = os.environ if environ is None else environ
    names = [str(field.validation_alias) for field in Settings.model_fields.values()]
    try:
        settings = Settings.model_validate({name: source[name] for name in names if source.get(name)})
    except ValidationError as error:
        lines = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()]
        raise BadSettings("; ".join(lines)) from None
    values = (getattr(settings, name) for name in Settings.model_fields)
    secrets.remember(value.get_secret_value() for value in values if isinstance(value, SecretStr))
    return settings


def child_environment(environ: Mapping[str, str] | None = None, *, card: Card | None = None) -> dict[str, str]:
    """
    Return what a child process on *card* may see: paths, locale, caches, GPU variables, but no key, token or bucket.
    """
    source = os.environ if environ is None else environ
    kept = (card or Card()).environment(
        {name: value for name, value in source.items() if name in _CHILD_VARIABLES or name.startswith(_CHILD_PREFIXES)}
    )
    package_parent = str(Path(__file__).resolve().parents[2])
    paths = [package_parent, *filter(None, kept.get("PYTHONPATH", "").split(os.pathsep))]
    return {**kept, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "PYTHONUNBUFFERED": "1"}


def in_runpod_worker(environ: Mapping[str, str] | None = None) -> bool:
    """
    Say whether RunPod's control plane drives this process. If not, it is a local run, whose progress is not posted.
    """
    return "RUNPOD_WEBHOOK_GET_JOB" in (os.environ if environ is None else environ)
