"""List the model files of a ComfyUI server by folder, from the server or from the volume."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from wanworker.comfyui.client.http import ComfyClient
from wanworker.comfyui.graph.object_info import Choices
from wanworker.comfyui.server.model_paths import MODEL_FOLDERS, models_folders
from wanworker.engines.comfyui.graphs import WORKFLOWS
from wanworker.errors import EngineFailed, EngineUnavailable, ModelNotFound, WorkerError
from wanworker.models.files.damage import flaw_of

#: How many seconds an answer is used: to choose an engine, and to render.
_FRESH_S, _JUST_NOW_S = 10.0, 1.0
_MOST_NAMED = 3

#: ComfyUI's folder of models -> the files in it.
Lists = Mapping[str, tuple[str, ...]]

#: The same for damaged files, each with its fault. A server lists them too, and then fails after minutes.
Flaws = Mapping[str, Mapping[str, str]]

#: Node classes with the choices of their inputs.
ClassChoices = Mapping[str, tuple[Choices, ...]]

#: The inputs of the core's loaders that name weights, each with the folder of ComfyUI that has its files.
_LOADERS: Mapping[str, Mapping[str, str]] = {
    "UNETLoader": {"unet_name": "diffusion_models"},
    "VAELoader": {"vae_name": "vae"},
    "LoraLoader": {"lora_name": "loras"},
    "LoraLoaderModelOnly": {"lora_name": "loras"},
    "CLIPLoader": {"clip_name": "text_encoders"},
    "DualCLIPLoader": {"clip_name1": "text_encoders", "clip_name2": "text_encoders"},
    "CLIPVisionLoader": {"clip_name": "clip_vision"},
    "AudioEncoderLoader": {"audio_encoder_name": "audio_encoders"},
    "CheckpointLoaderSimple": {"ckpt_name": "checkpoints"},
    "UpscaleModelLoader": {"model_name": "upscale_models"},
    "FrameInterpolationModelLoader": {"model_name": "frame_interpolation"},
}

#: The endings that are listed. Other files in a models folder (notes, previews, half downloads) are not weights.
_WEIGHTS = frozenset({".safetensors", ".sft", ".pt", ".pth", ".bin", ".ckpt", ".gguf"})

#: The folders that our graphs load from, those that finish a clip, and checkpoints for callers' graphs.
FOLDERS: tuple[str, ...] = tuple(
    dict.fromkeys(
        (
            *("diffusion_models", "vae", "loras", "text_encoders", "clip_vision", "audio_encoders", "checkpoints"),
            *("upscale_models", "frame_interpolation"),
            *(weights.folder for workflow in WORKFLOWS.values() for weights in workflow.weights.values()),
        )
    )
)


class FolderLists:
    """Hold the lists of one server. *roots* are the volume's model folders; *make_client* connects to the server."""

    def __init__(
        self,
        roots: Sequence[Path],
        make_client: Callable[[], ComfyClient],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._roots = tuple(roots)
        self._make_client = make_client
        self._clock = clock
        self._told: tuple[float, Lists | None] | None = None

    @property
    def places(self) -> tuple[str, ...]:
        """Return the folders whose models are listed, in the order of the search."""
        return tuple(str(root) for root in self._roots)

    def from_folders(self) -> Lists:
        """Return the files in the volume's folders, in any layout, as the server would name them."""
        return {folder: tuple(sorted(files)) for folder, files in self._files().items()}

    def choices_of(self, classes: Collection[str]) -> ClassChoices:
        """Return the choices of the core's loaders among *classes*, by the volume's folders that have files."""
        lists = self.from_folders()
        read = {
            name: tuple(Choices(key, lists[folder]) for key, folder in _LOADERS[name].items() if lists[folder])
            for name in classes
            if name in _LOADERS
        }
        return {name: choices for name, choices in read.items() if choices}

    def examined(self) -> tuple[Lists, Flaws]:
        """Return the same in two parts: the complete files, and the damaged ones with their faults."""
        files = self._files()
        flaws = {folder: _flaws(found) for folder, found in files.items()}
        whole = {folder: tuple(sorted(found.keys() - flaws[folder].keys())) for folder, found in files.items()}
        return whole, flaws

    async def from_server(self, client: ComfyClient) -> Lists:
        """
        Return the server's lists, at most some seconds old: a job asks at its check and again when it runs.

        A folder that the server does not know is empty. Raises EngineUnavailable.
        """
        if (kept := self._kept_for(_JUST_NOW_S)) is not None:
            return kept
        names = await asyncio.gather(*(_asked(client, folder) for folder in FOLDERS))
        lists = dict(zip(FOLDERS, names, strict=True))
        self._told = (self._clock(), lists)
        return lists

    async def usable(self, client: ComfyClient, *, is_local: bool) -> Lists:
        """
        Return the server's lists. Of a local server's, damaged files are left out, because it would fail to load them.
        """
        lists = self.from_server(client)
        return await (self.less_damaged(lists) if is_local else lists)

    async def less_damaged(self, told: Awaitable[Lists]) -> Lists:
        """Return the lists that a server of this machine has *told*, without the files that it would fail to load."""
        lists, (_, flaws) = await asyncio.gather(told, asyncio.to_thread(self.examined))
        return {
            folder: tuple(name for name in names if name not in flaws.get(folder, ()))
            for folder, names in lists.items()
        }

    def with_damage(self, error: ModelNotFound) -> ModelNotFound:
        """Return *error* with the damaged files in its hint, because the missing file may be one of them."""
        damaged = [
            f"{folder}/{name} is damaged ({flaw})."
            for folder, flaws in self.examined()[1].items()
            for name, flaw in flaws.items()
        ]
        return ModelNotFound(str(error), hint=" ".join((error.hint, *damaged[:_MOST_NAMED])), field=error.field)

    def from_server_now(self) -> Lists | None:
        """
        Ask from a thread without an event loop. Return None if no server answers. Blocks for at most some seconds.

        The answer is kept for a few seconds, because every job in `auto` asks.
        """
        if self._told is None or self._clock() - self._told[0] > _FRESH_S:
            self._told = (self._clock(), self._ask_server())
        return self._told[1]

    def forget(self, *, answers: bool) -> None:
        """Drop the server's answer. If it is known not to answer, that is remembered for some seconds instead."""
        self._told = None if answers else (self._clock(), None)

    def _kept_for(self, seconds: float) -> Lists | None:
        told = self._told
        return told[1] if told is not None and self._clock() - told[0] <= seconds else None

    def _files(self) -> dict[str, dict[str, Path]]:
        places = models_folders(self._roots)
        return {folder: _weights([p / part for p in places for part in MODEL_FOLDERS[folder]]) for folder in FOLDERS}

    def _ask_server(self) -> Lists | None:
        found: list[Lists] = []

        async def ask() -> None:
            async with self._make_client() as client:
                await client.system_stats()
                found.append(await self.from_server(client))

        def run() -> None:
            try:
                asyncio.run(ask())
            except WorkerError:
                return

        thread = threading.Thread(target=run, name="comfyui-lists", daemon=True)
        thread.start()
        thread.join()
        return found[0] if found else None


async def _asked(client: ComfyClient, folder: str) -> tuple[str, ...]:
    try:
        return await client.models(folder)
    except EngineUnavailable:
        raise
    except EngineFailed:  # an older server does not know the folder
        return ()


def _weights(places: Iterable[Path]) -> dict[str, Path]:
    """Return name -> file. Of two files with one name, it is the one that a server loads: the first."""
    found: dict[str, Path] = {}
    for place in places:
        for path in place.rglob("*") if place.is_dir() else ():
            if path.suffix.lower() in _WEIGHTS and path.is_file():
                found.setdefault(path.relative_to(place).as_posix(), path)
    return found


def _flaws(files: Mapping[str, Path]) -> dict[str, str]:
    flaws = {name: _flaw_of(path) for name, path in files.items()}
    return {name: flaw for name, flaw in flaws.items() if flaw}


def _flaw_of(path: Path) -> str:
    try:
        return flaw_of(path)
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
