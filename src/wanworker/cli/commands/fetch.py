"""`wanworker fetch`: download the weights of one engine and task to where the engine reads them."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from wanworker.cli._base import EXIT_STOPPED, Command, CommandFailed, misused, read_settings
from wanworker.cli.terminal.console import say
from wanworker.cli.terminal.progress_bar import Bar
from wanworker.models.hub.api import FetchFailed, Hub
from wanworker.models.hub.catalogue import PRESETS, Preset
from wanworker.models.hub.fetch import Plan, Step, carry_out, check_space, free_on_disk, in_words, plan
from wanworker.text.nearest import nearest_names

if TYPE_CHECKING:
    from wanworker.settings import Settings

#: A repository has many small files; those from here on are named one by one.
_NAMED_FROM_BYTES = 50_000_000

_AGAIN = "Run the same command again: it goes on from there. A private or limited repository wants HF_TOKEN."


def add_arguments(parser: ArgumentParser) -> None:
    """Add what `fetch` takes."""
    parser.add_argument("preset", nargs="?", metavar="PRESET", help="a set of weights; --list names them")
    parser.add_argument("--list", action="store_true", help="list the sets with their sizes, and fetch nothing")
    parser.add_argument("--dir", type=Path, metavar="FOLDER", help="the models folder to fill; default: WAN_CKPT_DIR")
    parser.add_argument("--dry-run", action="store_true", help="say what would be fetched, and fetch nothing")
    parser.add_argument("--verify", action="store_true", help="hash the files that are there too, and mend them")
    parser.add_argument("-y", "--yes", action="store_true", help="fetch without a question")


def run(
    args: Namespace,
    *,
    stdin: TextIO | None = None,
    free_bytes: Callable[[Path], int] = free_on_disk,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Fetch, and return the exit code. Raises CommandFailed, DiskFull."""
    if args.list:
        _list(PRESETS.values())
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
        raise CommandFailed(str(error), hint=_AGAIN, code="FETCH_FAILED") from error
    return 0


def _elsewhere(settings: Settings) -> Callable[[str], Iterator[Path]]:
    """Return the function from `vae/x.safetensors` to every place where ComfyUI would find that file."""
    from wanworker.comfyui.server.model_paths import MODEL_FOLDERS, models_folders

    own = (settings.comfyui_root / "models",) if settings.comfyui_root else ()
    roots = models_folders((*own, *settings.model_dirs))

    def places(target: str) -> Iterator[Path]:
        folder, _, name = target.partition("/")
        yield from (root / part / name for root in roots for part in MODEL_FOLDERS.get(folder, (folder,)))

    return places


def _named(name: str | None) -> Preset:
    if name is None:
        raise misused("Name the weights to fetch.", hint="wanworker fetch --list says which there are.")
    if (preset := PRESETS.get(name.lower())) is None:
        near = nearest_names(name.lower(), PRESETS, cutoff=0.4)
        nearest = f"Nearest: {', '.join(near)}. " if near else ""
        raise misused(
            f"There is no preset {name[:60]!r}.", hint=f"{nearest}wanworker fetch --list says which there are."
        )
    return preset


def _list(presets: Iterable[Preset]) -> None:
    for preset in presets:
        size = "size unknown" if preset.size_bytes is None else in_words(preset.size_bytes)
        print(f"{preset.name:<22}{size:>13}  {preset.engine:<10}{preset.task:<13}{preset.meaning}")


def _show(wanted: Plan, free: int) -> None:
    small = [step for step in wanted.steps if wanted.preset.tree and step.file.size_bytes < _NAMED_FROM_BYTES]
    for step in wanted.steps:
        if step not in small or step.replaces:
            print(f"{in_words(step.file.size_bytes):>10}  {_named_step(step, wanted)}")
    if small:
        total = in_words(sum(step.file.size_bytes for step in small))
        print(f"{total:>10}  {len(small)} small files, {sum(step.held is not None for step in small)} of them there")
    if not wanted.to_fetch:
        say("there", f"All {in_words(wanted.size_bytes)} of {wanted.preset.name} are there already.")
        return
    left, total = in_words(wanted.left_bytes), in_words(wanted.size_bytes)
    say("to fetch", f"{left} of {total}, into {wanted.models_dir} ({in_words(free)} free)")


def _named_step(step: Step, wanted: Plan) -> str:
    name = step.target.name if step.held else str(step.target.relative_to(wanted.models_dir))
    if step.held:
        return f"{name}  there: {step.held}"
    if step.replaces:
        return f"{name}  replaces the one there: {step.replaces}"
    return f"{name}  {in_words(step.part_bytes)} of it are there" if step.part_bytes else name


def _warn_of_a_folder_nobody_reads(models_dir: Path, settings: Settings) -> None:
    if models_dir.resolve() not in {place.resolve() for place in settings.model_dirs}:
        say("note", f"The engines do not look in {models_dir}: set WAN_CKPT_DIR to it.")


def _agreed(wanted: Plan, stdin: TextIO) -> bool:
    size = in_words(wanted.left_bytes)
    if not stdin.isatty():
        raise misused(f"{size} would be fetched, and nobody is here to be asked.", hint="Agree with --yes.")
    print(f"Fetch {size}? [y/N] ", end="", flush=True)
    return stdin.readline().strip().lower() in {"y", "yes"}


def _fetch(wanted: Plan, source: Hub, clock: Callable[[], float]) -> None:
    bar, started, total = Bar.on_stderr(), clock(), max(1, wanted.left_bytes)

    def draw(step: Step, came: int) -> None:
        elapsed_s = clock() - started
        shown = {
            "progress": 100 * came / total,
            "stage": step.target.name,
            "step": f"{came / 1e9:.1f}",
            "steps": in_words(total),
            "eta_s": (total - came) * elapsed_s / came if came > 0 else None,
        }
        bar.draw(shown, elapsed_s)

    try:
        carry_out(wanted, source, report=draw)
    except KeyboardInterrupt as error:
        raise CommandFailed("Stopped; what has come is kept.", hint=_AGAIN, exit_code=EXIT_STOPPED) from error
    finally:
        bar.close()
    say("fetched", f"{wanted.preset.name}, checked; {wanted.preset.engine} renders {wanted.preset.task} with it")
    say("next", "wanworker doctor says what can render here now")


COMMAND = Command("fetch", "Get the weights of an engine and a task from the hub.", add_arguments, run)
