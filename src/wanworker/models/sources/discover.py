"""Put a model together for a task, from the files of any layout: what a request names, or the best that is there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wanworker.errors import InvalidRequest, ModelNotFound
from wanworker.models.files.loras import is_pair, sibling_of
from wanworker.models.sources._candidates import EXPERT_NAMES, Candidates, Experts, Listing, Places
from wanworker.models.sources._facts import Facts
from wanworker.models.sources._kinds import is_distilled
from wanworker.models.sources.checkpoint import Stamp, stamp_of
from wanworker.spec import TASKS
from wanworker.text.nearest import nearest_names
from wanworker.text.weight_names import SPECIAL_WORDS, below, having, meant

#: What the VAE of so many latent channels is called in ComfyUI's folders.
_VAES = {16: "vae/wan_2.1_vae.safetensors", 48: "vae/wan2.2_vae.safetensors"}

#: Of two models that both fit, the one whose numbers were rounded less; fp32 comes from upstream and reads longest.
_FORMS = ("bf16", "fp16", "fp32", "fp8_scaled", "fp8")


@dataclass(frozen=True, slots=True)
class Source:
    """
    One model, put together: a path for each component (`transformer`, `transformer_2`, `text_encoder`, `vae`,
    `tokenizer`), each a file or a folder.

    `sizes_bytes` is what each takes once loaded. `faults` says in words what is missing or cannot be loaded; a source
    with faults has not all of its parts. `is_distilled` marks a model that renders in a few fixed steps (FastWan),
    `is_folder` one in diffusers' layout, whose `path` says how the parts work together; `multiplies_float8` one with
    matrices that can be multiplied in float8 as they are.
    """

    name: str
    task: str
    path: Path
    parts: Mapping[str, Path]
    sizes_bytes: Mapping[str, int]
    experts: int
    form: str
    is_distilled: bool = False
    is_folder: bool = False
    multiplies_float8: bool = False
    faults: tuple[str, ...] = ()

    def stamp(self) -> Stamp:
        """Return what changes when one of its files is written, or replaced under its name. Looks at each of them."""
        paths = dict.fromkeys((*self.parts.values(), self.path))
        return tuple(entry for path in paths for entry in stamp_of(path))

    @property
    def is_whole_folder(self) -> bool:
        """It is a folder in diffusers' layout that has all of its parts itself."""
        return self.is_folder and all(path.is_relative_to(self.path) for path in self.parts.values())


class Sources:
    """Know the models below *places*, and in the folders that *folders* gives for ComfyUI's kinds of files."""

    def __init__(self, places: Sequence[Path], folders: Places) -> None:
        self.places = tuple(places)
        self._candidates = Candidates(places, folders)

    def find(self, task: str) -> list[Source]:
        """Return the models for *task*, the best first: whole ones, then undistilled ones, then the most exact."""
        listing = self._candidates.now()
        found = [_completed(task, experts, listing, None) for experts in listing.experts(task)]
        return sorted(found, key=_rank)

    def names(self) -> dict[str, str]:
        """Return the name of each folder and file that is a model, or half of one, with its task."""
        listing = self._candidates.now()
        found: dict[str, str] = {}
        for task in TASKS:
            for experts in listing.experts(task):
                for name in [experts.name] if experts.home else [facts.name for facts in experts.facts]:
                    found.setdefault(name, task)  # v2v renders with t2v's weights: the task they are named for counts
        return found

    def named(
        self, task: str, names: Sequence[str] = (), *, vae: str | None = None, single_expert: bool = False
    ) -> tuple[list[Source], list[str]]:
        """
        Return the models for *task* that *names* (files or folders) and *vae* allow, the best first, and what was
        inferred or ignored. Raises ModelNotFound.
        """
        warnings: list[str] = []
        listing = self._candidates.now()
        chosen = list(listing.experts(task))
        if names:
            chosen = self._chosen(task, names, listing, warnings, single_expert=single_expert)
        if single_expert:
            chosen = [dataclasses.replace(experts, facts=experts.facts[:1]) for experts in chosen]
        named_vae = self._named_vae(vae, listing)
        found = sorted((_completed(task, experts, listing, named_vae) for experts in chosen), key=_rank)
        if single_expert and found and TASKS[task].boundary is not None:
            first = found[0].parts["transformer"].name
            warnings.append(f"single_expert: {first} renders all steps alone, which is not how Wan 2.2 was trained.")
        return found, warnings

    def flaws(self, task: str) -> tuple[str, ...]:
        """Return why files that look like models of *task* cannot be loaded."""
        files = self._candidates.now().files["transformer"].values()
        return tuple(facts.flaw for facts in files if facts.flaw and facts.task in {task, None})

    def _chosen(
        self, task: str, names: Sequence[str], listing: Listing, warnings: list[str], *, single_expert: bool
    ) -> list[Experts]:
        """Return the models that the first of *names* belongs to; a second name is for the other expert."""
        known = list(listing.experts(task))
        folders = {experts.name: experts for experts in known if experts.home}
        files = {
            name: facts for name, facts in listing.files["transformer"].items() if facts.task == task and not facts.flaw
        }
        first = self._meant(task, names[0], [*files, *folders], listing)
        if first in folders:
            return [folders[first]]
        found = [experts for experts in known if first in {facts.name for facts in experts.facts}]
        if single_expert or files[first].expert is None:
            warnings += [f"{name} was ignored: {first} renders alone." for name in names[1:]]
            return [Experts(first, (files[first],))]
        if len(names) > 1:
            return [_pair(files[first], files[self._meant(task, names[1], [*files], listing)])]
        if not found:
            raise self._not_found(task, sibling_of(first), [*files], (), listing)
        others = [facts.name for experts in found for facts in experts.facts if facts.name != first]
        warnings += [f"diffusion model {other} was added: it is the other half of {first}." for other in others]
        return found

    def _meant(self, task: str, name: str, known: Iterable[str], listing: Listing) -> str:
        names = list(known)
        asked = below("diffusion_models", name)
        found = meant(asked, names) or having(asked, names)
        if len(found) == 1 or is_pair(found):
            return found[0]
        raise self._not_found(task, name, names, found, listing)

    def _not_found(
        self, task: str, name: str, names: Sequence[str], could_be: Sequence[str], listing: Listing
    ) -> ModelNotFound:
        """Return the documented sentence; the hint says why a file of this name cannot be loaded, or which are near."""
        files = listing.files["transformer"]
        there = [files[file] for file in meant(below("diffusion_models", name), files)]
        if flaw := next((facts.flaw for facts in there if facts.flaw), ""):
            return ModelNotFound(f"Model '{name[:120]}' cannot be loaded: {flaw}", field="diffusion_model")
        hints = [f"{facts.name} is a model for {facts.task}, not for {task}." for facts in there]
        if could_be:
            hints = [f"It could be any of: {', '.join(could_be[:5])}."]
        elif not hints:
            near = nearest_names(name.lower(), [known.lower() for known in names], cutoff=0.3)
            nearest = [known for one in dict.fromkeys(near) for known in names if known.lower() == one]
            hints = [f"Nearest: {', '.join(nearest)}." if nearest else f"Available: {', '.join(names[:8]) or 'none'}."]
        searched = ", ".join(str(place) for place in self.places)
        message = f"Model '{name[:120]}' not found in {self.places[0]}/"
        return ModelNotFound(message, hint=f"{' '.join(hints)} Searched: {searched}.", field="diffusion_model")

    def _named_vae(self, name: str | None, listing: Listing) -> Facts | None:
        if name is None:
            return None
        known = {facts.name: facts for facts in listing.vaes()}
        asked = below("vae", name)
        found = meant(asked, known) or having(asked, known)
        if len(found) != 1:
            there = ", ".join(found or known) or "none"
            raise ModelNotFound(
                f"Model '{name[:120]}' not found in {self.places[0]}/", hint=f"Available: {there}.", field="vae_model"
            )
        return known[found[0]]


def _completed(task: str, experts: Experts, listing: Listing, vae: Facts | None) -> Source:
    """Give *experts* what they need besides: their own, else what fits from elsewhere."""
    first = experts.facts[0]
    parts = {name: facts.path for name, facts in zip(EXPERT_NAMES, experts.facts, strict=False)}
    sizes = dict(experts.sizes_bytes)
    text = _best(listing.text_encoders(), experts, "width")
    chosen = {"text_encoder": text, "vae": vae or _best(listing.vaes(), experts, "channels")}
    lacks: dict[str, str] = {}
    for component, facts in chosen.items():
        if facts is None or facts.flaw or _differs(facts, first):
            lacks[component] = _lack(component, first, facts)
        else:
            parts[component] = facts.path
            sizes[component] = facts.size_bytes or sizes.get(component, 0)
    if experts.folder is not None and (experts.folder.path / "scheduler").is_dir():
        parts["scheduler"] = experts.folder.path / "scheduler"
    tokenizer = _tokenizer(experts, text, listing)
    if tokenizer is None:
        lacks["tokenizer"] = "no tokenizer (inside the text encoder's file, or google/umt5-xxl)"
    else:
        parts["tokenizer"] = tokenizer
    return Source(
        experts.name,
        task,
        experts.home or first.path,
        parts,
        {name: size for name, size in sizes.items() if name in parts or name in lacks},
        experts=len(experts.facts),
        form=first.form,
        is_distilled=experts.folder.is_distilled if experts.folder else is_distilled(experts.name),
        multiplies_float8=any(facts.multiplies_float8 for facts in experts.facts),
        is_folder=experts.folder is not None and experts.folder.experts == len(experts.facts),
        faults=tuple(dict.fromkeys(experts.faults(lacks))),
    )


def _tokenizer(experts: Experts, text: Facts | None, listing: Listing) -> Path | None:
    paths = list(listing.tokenizers())
    own = [path for path in paths if experts.home is not None and path.is_relative_to(experts.home)]
    if own:
        return own[0]
    if text is not None and text.has_tokenizer:
        return text.path
    beside = [path for path in paths if text is not None and path.is_relative_to(text.path.parent)]
    return next(iter((*beside, *paths)), None)


def _best(candidates: Iterable[Facts], experts: Experts, number: str) -> Facts | None:
    """
    Return the part that goes best with *experts*: one that fits and is whole, its own, in float8 as they are, first.

    Where none fits, one that does not is returned, for its flaw to be told.
    """
    first = experts.facts[0]

    def rank(facts: Facts) -> tuple[bool, bool, bool, bool]:
        is_own = experts.home is not None and facts.path.is_relative_to(experts.home)
        differs = getattr(facts, number) != getattr(first, number)
        return (bool(facts.flaw), differs, not is_own, facts.form.startswith("fp8") != first.form.startswith("fp8"))

    return min(candidates, key=rank, default=None)


def _differs(facts: Facts, first: Facts) -> bool:
    if facts.component == "vae":
        return facts.channels != first.channels
    return facts.width != first.width


def _lack(component: str, first: Facts, facts: Facts | None) -> str:
    if facts is not None and facts.flaw:
        return facts.flaw
    if component == "vae":
        name = _VAES.get(first.channels or 0, "the model's own")
        return f"no VAE of {first.channels} channels ({name})"
    return "no text encoder that fits (umt5, such as text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors)"


def _pair(first: Facts, second: Facts) -> Experts:
    """Return the two as experts, in their order. Raises InvalidRequest where they are no pair."""
    pair = tuple(sorted((first, second), key=lambda facts: facts.expert != "high"))
    if {facts.expert for facts in pair} != {"high", "low"}:
        named = f"{first.name}, {second.name}"
        raise InvalidRequest(
            f"Wan 2.2 takes one high-noise and one low-noise model; got {named}.", field="diffusion_model"
        )
    return Experts(" + ".join(facts.name for facts in pair), pair)


def _rank(source: Source) -> tuple[bool, bool, bool, int, str]:
    form = _FORMS.index(source.form) if source.form in _FORMS else len(_FORMS)
    is_special = any(word in source.name.lower() for word in SPECIAL_WORDS)
    return (bool(source.faults), source.is_distilled, is_special, form, source.name)
