"""Build the command line, the folders and the environment of a local ComfyUI server."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wanworker.comfyui.client.connection import NOT_RESPONDING
from wanworker.comfyui.server.model_paths import write_extra_model_paths
from wanworker.errors import EngineUnavailable

#: Variables that would change the interpreter, or give it another one's packages.
_OF_ANOTHER_PYTHON = frozenset({"VIRTUAL_ENV", "PYTHONHOME"})


@dataclass(frozen=True, slots=True)
class Launch:
    """
    Describe a ComfyUI checkout and how to start it.

    *root* holds main.py. *python* runs it (see `interpreter_of`), with *env* as its whole environment. *work_dir* holds
    the files of this one server: its log, its list of model folders, its temporary files and its database. It is on a
    local disk, because servers that share a volume would delete one another's files. *model_roots* are searched in
    order (model_paths.py). *output_dir* and *input_dir* are made if missing; None keeps ComfyUI's own. *cpu* is for
    machines without a GPU. *preview_method* is ComfyUI's (`none`, `auto`, `latent2rgb`, `taesd`). *arguments* come last
    and override ours.
    """

    root: Path
    python: Path
    env: Mapping[str, str]
    work_dir: Path
    port: int = 8188
    model_roots: tuple[Path, ...] = ()
    output_dir: Path | None = None
    input_dir: Path | None = None
    cpu: bool = False
    preview_method: str | None = None
    arguments: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """Return the address of the server."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log_path(self) -> Path:
        """Return the path of its log."""
        return self.work_dir / "comfyui.log"

    def prepare(self) -> tuple[str, ...]:
        """Make the folders and the list of model folders, and return the command line. Raises EngineUnavailable."""
        if not (self.root / "main.py").is_file():
            message = f"{NOT_RESPONDING}. It is not installed: there is no main.py in {self.root}."
            raise EngineUnavailable(
                message, hint="Set COMFYUI_ROOT to a checkout; scripts/install_comfyui.sh makes one."
            )
        try:
            # The server lists its input folder for every LoadImage, and fails if the folder is missing.
            for folder in filter(None, (self.work_dir, self.output_dir, self.input_dir)):
                folder.mkdir(parents=True, exist_ok=True)
            models = write_extra_model_paths(self.work_dir / "extra_model_paths.yaml", self.model_roots)
        except OSError as error:
            raise EngineUnavailable(f"{NOT_RESPONDING}. A folder that it needs cannot be made: {error}.") from error
        return self._argv(models)

    def environment(self) -> dict[str, str]:
        """Return *env* without variables that would give ComfyUI this worker's packages instead of its own."""
        ours = Path(__file__).resolve().parents[3]
        paths = [path for path in self.env.get("PYTHONPATH", "").split(os.pathsep) if path and Path(path) != ours]
        kept = {name: value for name, value in self.env.items() if name not in {*_OF_ANOTHER_PYTHON, "PYTHONPATH"}}
        # Its log shows that it lives, so lines must not be buffered.
        return {**kept, **({"PYTHONPATH": os.pathsep.join(paths)} if paths else {}), "PYTHONUNBUFFERED": "1"}

    def _argv(self, models: Path) -> tuple[str, ...]:
        argv = [str(self.python), "main.py", "--listen", "127.0.0.1", "--port", str(self.port)]
        # Paths are absolute, because the server runs in its own folder.
        argv += ["--disable-auto-launch", "--extra-model-paths-config", str(models.absolute())]
        argv += ["--temp-directory", str(self.work_dir.absolute())]
        if self._knows("--database-url"):
            # Newer servers lock the database, and do not start while another worker on the volume has the lock.
            argv += ["--database-url", f"sqlite:///{self.work_dir.absolute() / 'comfyui.db'}"]
        for flag, folder in (("--output-directory", self.output_dir), ("--input-directory", self.input_dir)):
            argv += [flag, str(folder.absolute())] if folder else []
        argv += ["--cpu"] if self.cpu else []
        argv += ["--preview-method", self.preview_method] if self.preview_method else []
        return (*argv, *self.arguments)

    def _knows(self, flag: str) -> bool:
        """Say whether this checkout knows *flag*. A server does not start with an unknown flag."""
        try:
            return f'"{flag}"' in (self.root / "comfy" / "cli_args.py").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False


def interpreter_of(root: Path) -> Path:
    """Return the interpreter of the virtual environment in the checkout at *root*, else this worker's own."""
    places = (root / name / "bin" / "python" for name in (".venv", "venv"))
    return next((place for place in places if place.is_file()), Path(sys.executable))
