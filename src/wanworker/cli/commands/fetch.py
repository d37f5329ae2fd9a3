"""`wanworker fetch`: download the weights of one engine and task to where the engine reads them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from wanworker.cli._base import EXIT_STOPPED, Command, CommandFailed, misused, read_settings
from wanworker.cli.terminal.console import say, show, width_of_stdout
from wanworker.cli.terminal.live_progress import LiveProgress
from wanworker.cli.terminal.signals import exiting_on_signals
from wanworker.models.hub.api import FetchFailed, Hub, HubMissing
from wanworker.models.hub.catalogue import PRESETS, Preset
from wanworker.models.hub.fetch import Plan, Step, carry_out, check_space, free_on_disk, in_words, plan
from wanworker.text.nearest import nearest_names

if TYPE_CHECKING:
    from rich.table import Table

    from wanworker.settings import Settings

#: On a narrower terminal the list shows each set on two lines.
_WIDE = 80

#: Files from this size on are named one by one. A repository has many smaller ones, which are only counted.
_NAMED_FROM_BYTES = 50_000_000

_AGAIN = "Run the same command again to continue. A private repository or a rate limit needs HF_TOKEN."


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchOptions:
    """Hold the arguments of `fetch`."""

    preset: Annotated[
        str | None,
        typer.Argument(
            metavar="PRESET",
            help="The set of weights to download. --list shows all sets.",
            show_default=False,
            autocompletion=lambda: [*PRESETS],
        ),
    ] = None
    list: Annotated[
        bool, typer.Option("--list", help="List the sets of weights with their sizes. Nothing is downloaded.")
    ] = False
    dir: Annotated[
        Path | None,
        typer.Option(
            "--dir", metavar="FOLDER", help="The models folder to download to. By default it is WAN_CKPT_DIR."
        ),
    ] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be downloaded. Nothing is downloaded.")
    ] = False
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Check the hashes of the files that exist too, and replace those that differ."),
    ] = False
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Download without asking first.")] = False


def run(
    args: FetchOptions,
    *,
    stdin: TextIO | None = None,
    free_bytes: Callable[[Path], int] = free_on_disk,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Fetch a set of weights, and return the exit code. Raises CommandFailed, DiskFull."""
    if args.list:
        show(_listed(PRESETS.values(), width_of_stdout()))
        return 0
    from wanworker.engines.machine.weight_folders import tree_folders

    preset = _named(args.preset)
    settings = read_settings()
    models_dir = (args.dir or settings.ckpt_dir).expanduser().absolute()
    token = settings.hf_token.get_secret_value() if settings.hf_token else None
    source = Hub(settings.hf_endpoint, token=token)
    try:
        folders = tree_folders(preset, settings)
        wanted = plan(preset, source, models_dir, elsewhere=_elsewhere(settings), folders=folders, verify=args.verify)
        free = free_bytes(models_dir)
        _show(wanted, free)
        check_space(wanted, free)
        if args.dry_run or not wanted.to_fetch:
            return 0
        _warn_of_a_folder_nobody_reads(models_dir, settings)
        if not args.yes and not _agreed(wanted, stdin or sys.stdin):
            raise CommandFailed("Nothing was fetched.")
        _fetch(wanted, source, clock)
    except FetchFailed as error:
        hint = "" if isinstance(error, HubMissing) else _AGAIN
        raise CommandFailed(str(error), hint=hint, code="FETCH_FAILED") from error
    return 0


def _elsewhere(settings: Settings) -> Callable[[str], Iterator[Path]]:
    """Return a function that maps `vae/x.safetensors` to every place where ComfyUI would find that file."""
    from wanworker.comfyui.server.model_paths import MODEL_FOLDERS, models_folders

    own = (settings.comfyui_root / "models",) if settings.comfyui_root else ()
    roots = models_folders((*own, *settings.model_dirs))

    def places(target: str) -> Iterator[Path]:
        folder, _, name = target.partition("/")
        yield from (root / part / name for root in roots for part in MODEL_FOLDERS.get(folder, (folder,)))

    return places


def _named(name: str | None) -> Preset:
    if name is None:
        raise misused("Give the name of a set of weights.", hint="wanworker fetch --list shows all names.")
    if (preset := PRESETS.get(name.lower())) is None:
        near = nearest_names(name.lower(), PRESETS, cutoff=0.4)
        nearest = f"Nearest: {', '.join(near)}. " if near else ""
        raise misused(
            f"There is no set of weights {name[:60]!r}.", hint=f"{nearest}wanworker fetch --list shows all names."
        )
    return preset


def _listed(presets: Iterable[Preset], width: int) -> Table:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    for preset in presets:
        size = "size unknown" if preset.size_bytes is None else in_words(preset.size_bytes)
        name = Text(preset.name, "bold")
        if width >= _WIDE:
            table.add_row(name, Text(size, justify="right"), preset.engine, preset.task, preset.meaning)
        else:
            table.add_row(name.append(f"  {size}", "not bold"))
            table.add_row(Padding(f"{preset.engine}, {preset.task}: {preset.meaning}", (0, 0, 0, 2)))
    return table


def _show(wanted: Plan, free: int) -> None:
    show(_files_of(wanted))
    if not wanted.to_fetch:
        say("there", f"All {in_words(wanted.size_bytes)} of {wanted.preset.name} are already there.")
        return
    left, total = in_words(wanted.left_bytes), in_words(wanted.size_bytes)
    say("to fetch", f"{left} of {total}, into {wanted.models_dir} ({in_words(free)} free)")


def _files_of(wanted: Plan) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(min_width=10, justify="right", no_wrap=True)
    small = [step for step in wanted.steps if wanted.preset.tree and step.file.size_bytes < _NAMED_FROM_BYTES]
    for step in wanted.steps:
        if step not in small or step.replaces:
            table.add_row(in_words(step.file.size_bytes), Text(_named_step(step, wanted), overflow="fold"))
    if small:
        total = in_words(sum(step.file.size_bytes for step in small))
        there = sum(step.held is not None for step in small)
        table.add_row(total, f"{len(small)} small files, {there} of them already there")
    return table


def _named_step(step: Step, wanted: Plan) -> str:
    name = step.target.name if step.held else str(step.target.relative_to(wanted.models_dir))
    if step.held:
        return f"{name}  already there: {step.held}"
    if step.replaces:
        return f"{name}  replaces the file that is there: {step.replaces}"
    return f"{name}  {in_words(step.part_bytes)} of it are already there" if step.part_bytes else name


def _warn_of_a_folder_nobody_reads(models_dir: Path, settings: Settings) -> None:
    if models_dir.resolve() not in {place.resolve() for place in settings.model_dirs}:
        say("note", f"The engines do not search {models_dir}. Set WAN_CKPT_DIR to this folder.")


def _agreed(wanted: Plan, stdin: TextIO) -> bool:
    size = in_words(wanted.left_bytes)
    if not stdin.isatty():
        raise misused(
            f"There is no terminal to ask whether to fetch {size}.", hint="Add --yes to fetch without asking."
        )
    print(f"Fetch {size}? [y/N] ", end="", flush=True)
    return stdin.readline().strip().lower() in {"y", "yes"}


def _fetch(wanted: Plan, source: Hub, clock: Callable[[], float]) -> None:
    live, started, total = LiveProgress(sys.stderr, clock=clock), clock(), max(1, wanted.left_bytes)

    def draw(step: Step, came: int) -> None:
        elapsed_s = clock() - started
        shown = {
            "progress": 100 * came / total,
            "stage": step.target.name,
            "step": f"{came / 1e9:.1f}",
            "steps": in_words(total),
            "eta_s": (total - came) * elapsed_s / came if came > 0 else None,
        }
        live.show(shown)

    try:
        with exiting_on_signals(), live:
            carry_out(wanted, source, report=draw)
    except KeyboardInterrupt as error:
        raise CommandFailed(
            "The download was stopped. The data that has arrived is kept.", hint=_AGAIN, exit_code=EXIT_STOPPED
        ) from error
    say("fetched", f"{wanted.preset.name} is complete. {wanted.preset.engine} renders {wanted.preset.task} with it.")
    say("next", "Run wanworker doctor to see what this machine can render now.")


COMMAND = Command("fetch", "Download the weights for an engine and a task.", FetchOptions, run)
