"""The checkpoints below the models folders: transformers in every layout, and the parts that all of them share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wanworker.models.files.hub_cache import snapshots
from wanworker.models.files.layouts import Layouts, WanFolder
from wanworker.models.files.loras import half_of, other_half
from wanworker.models.sources._facts import GGUF, PICKLED, Facts, FactsOfFiles
from wanworker.models.sources._kinds import Component
from wanworker.models.sources.configs import own_config
from wanworker.spec import TASKS

#: ComfyUI's name for the folders of each component's files.
FOLDERS: Mapping[Component, str] = {
    "transformer": "diffusion_models",
    "text_encoder": "text_encoders",
    "vae": "vae",
}
_SUFFIXES = frozenset({".safetensors", ".sft", GGUF, *PICKLED})

EXPERT_NAMES = ("transformer", "transformer_2")

#: What one model may have from another.
_SHARED = frozenset({"text_encoder", "vae", "tokenizer"})

#: Upstream's names within its repositories.
_HIGH, _LOW = "high_noise_model", "low_noise_model"
_TEXT_ENCODER = "models_t5_umt5-xxl-enc-bf16.pth"
_VAES = ("Wan2.1_VAE.pth", "Wan2.2_VAE.pth")
_TOKENIZER = Path("google", "umt5-xxl")

Places = Callable[[str], Iterable[Path]]


@dataclass(frozen=True, slots=True)
class Experts:
    """
    The transformer of a model, or both: the facts of the high-noise one, or of the only one, first.

    `home` is the folder whose own text encoder, VAE and tokenizer belong to it; `folder` its description where it is
    one in diffusers' layout.
    """

    name: str
    facts: tuple[Facts, ...]
    home: Path | None = None
    folder: WanFolder | None = None

    @property
    def sizes_bytes(self) -> Mapping[str, int]:
        """What each takes once loaded; of a folder in diffusers' layout, its other components too."""
        found = dict(self.folder.sizes_bytes) if self.folder else {}
        known = {name: facts.size_bytes for name, facts in zip(EXPERT_NAMES, self.facts, strict=False)}
        return found | {name: size for name, size in known.items() if size or name not in found}

    def faults(self, lacks: Mapping[str, str]) -> list[str]:
        """Return what is wrong with them, and *lacks* (component -> words); a folder has its own words for its own."""
        flaws = [facts.flaw for facts in self.facts if facts.flaw]
        if self.folder is None:
            return [*flaws, *lacks.values()]
        kept: list[str] = []
        for fault in self.folder.faults:
            component = fault.removeprefix(f"{self.folder.path.name}/").partition("/")[0].partition(" ")[0]
            if component not in _SHARED or component in lacks:
                kept.append(fault)
        return kept or [*flaws, *lacks.values()]


class Candidates:
    """
    List what is there, in every layout.

    *places* are the models folders; *folders* gives for ComfyUI's name of a kind of file the folders that hold it.
    """

    def __init__(self, places: Sequence[Path], folders: Places) -> None:
        self._places = tuple(places)
        self._folders = folders
        self._layouts = Layouts(self._places)
        self._facts = FactsOfFiles()

    def now(self) -> Listing:
        """Look at all places once; only headers of files that have changed are read again."""
        folders = {folder.path: folder for folder in self._layouts.all()}
        homes = {path: None for task in TASKS for path in self._homes(task) if path.is_dir()}
        files = {component: self._files(component) for component in FOLDERS}
        return Listing(files, tuple(folders.values()), tuple(homes), self._facts)

    def _homes(self, task: str) -> Iterator[Path]:
        """Give the folders that may be upstream's for *task*: by their name, in the hub's cache, or a place itself."""
        folder = TASKS[task].folder
        yield from (place / folder for place in self._places)
        yield from snapshots(self._places, f"Wan-AI/{folder}")
        yield from self._places

    def _files(self, component: Component) -> dict[str, Facts]:
        found: dict[str, Facts] = {}
        for folder in self._folders(FOLDERS[component]):
            for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
                name = path.relative_to(folder).as_posix()
                if path.suffix.lower() not in _SUFFIXES or name in found or not path.is_file():
                    continue
                facts = self._facts.of(path, name, component)
                if facts.component == component:
                    found[name] = facts
        return found


@dataclass(frozen=True, slots=True)
class Listing:
    """
    What lay there at one moment.

    `files` has ComfyUI's single files of each component by their names there, flawed ones too; `folders` are those in
    diffusers' layout, `homes` the folders that may be upstream's.
    """

    files: Mapping[Component, Mapping[str, Facts]]
    folders: tuple[WanFolder, ...]
    homes: tuple[Path, ...]
    known: FactsOfFiles

    def experts(self, task: str) -> Iterator[Experts]:
        """Give the models of *task*: diffusers' folders, single files, upstream's folders."""
        yield from (self._of_folder(folder) for folder in self.folders if folder.task == task)
        yield from self._single(task)
        for home in self.homes:
            if not _is_upstream(home, task):
                continue
            experts = _of_upstream(task, home, self.known)
            if home.name == TASKS[task].folder or experts.facts[0].task == task:
                yield experts

    def text_encoders(self) -> Iterator[Facts]:
        """Give the text encoders of every layout."""
        yield from self.files["text_encoder"].values()
        yield from self._of_folders("text_encoder")
        yield from self._of_homes("text_encoder", (_TEXT_ENCODER,))

    def vaes(self) -> Iterator[Facts]:
        """Give the VAEs of every layout."""
        yield from self.files["vae"].values()
        yield from self._of_folders("vae")
        yield from self._of_homes("vae", _VAES)

    def tokenizers(self) -> Iterator[Path]:
        """Give the tokenizers that are not inside a text encoder's file."""
        for folder in self.folders:
            if any((folder.path / "tokenizer").glob("*.json")):
                yield folder.path / "tokenizer"
        for path in (home / _TOKENIZER for home in self.homes):
            if (path / "tokenizer.json").is_file() or (path / "spiece.model").is_file():
                yield path

    def _of_folders(self, component: Component) -> Iterator[Facts]:
        for folder in self.folders:
            yield self.known.of(folder.path / component, f"{folder.path.name}/{component}", component)

    def _of_homes(self, component: Component, names: Iterable[str]) -> Iterator[Facts]:
        for path in (home / name for home in self.homes for name in names):
            if path.is_file():
                yield self.known.of(path, f"{path.parent.name}/{path.name}", component)

    def _of_folder(self, folder: WanFolder) -> Experts:
        parts = EXPERT_NAMES[: folder.experts]
        facts = (self.known.of(folder.path / part, _expert_name(folder.path, part), "transformer") for part in parts)
        return Experts(folder.path.name, tuple(facts), folder.path, folder)

    def _single(self, task: str) -> Iterator[Experts]:
        files = {name: facts for name, facts in self.files["transformer"].items() if facts.task == task}
        for name, facts in files.items():
            if TASKS[task].boundary is None:
                yield Experts(name, (facts,))
            elif facts.expert == "high":
                low = other_half(name, [other for other in files if half_of(other) == "low"])
                if low is not None:
                    yield Experts(f"{name} + {low}", (facts, files[low]))


def _of_upstream(task: str, home: Path, known: FactsOfFiles) -> Experts:
    name = TASKS[task].folder if home.parent.name == "snapshots" else home.name
    if TASKS[task].boundary is None:
        return Experts(name, (known.of(home, name, "transformer"),), home)
    facts = (known.of(home / part, f"{name}/{part}", "transformer") for part in (_HIGH, _LOW))
    return Experts(name, tuple(facts), home)


def _is_upstream(home: Path, task: str) -> bool:
    """Say whether *home* is upstream's folder for *task*: a model without the `model_index.json` of diffusers."""
    if TASKS[task].boundary is not None:
        is_named = home.name == TASKS[task].folder or home.parent.name == "snapshots"
        return (home / _HIGH).is_dir() and (is_named or _kind_of(home / _HIGH) == TASKS[task].short_name)
    has_weights = any(home.glob("diffusion_pytorch_model*.safetensors"))
    return has_weights and not (home / "model_index.json").exists()


def _kind_of(folder: Path) -> object:
    return own_config(folder).get("model_type")


def _expert_name(path: Path, part: str) -> str:
    """Name a part of a folder so that it says which expert it is, as single files do."""
    return f"{path.name}/{part} ({'low' if part.endswith('_2') else 'high'} noise)"
