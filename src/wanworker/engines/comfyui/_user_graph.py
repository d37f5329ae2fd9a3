"""Run a caller's own graph: convert it, check it, and fetch its outputs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from wanworker.comfyui.client.connection import Unreachable
from wanworker.comfyui.client.history import OutputFile
from wanworker.comfyui.client.http import ComfyClient
from wanworker.comfyui.graph.api_format import Graph, changed_prefixes, is_ui_format, read_graph, with_uploads
from wanworker.comfyui.graph.object_info import ObjectInfo
from wanworker.comfyui.graph.preflight import check
from wanworker.comfyui.graph.problems import Problem, as_error, as_warning, told
from wanworker.comfyui.graph.slots import with_slots
from wanworker.comfyui.run.validate import validate
from wanworker.comfyui.ui_workflow.convert import Converted, MissingClasses, api_graph
from wanworker.errors import (
    EngineError,
    EngineFailed,
    EngineUnavailable,
    GraphRefused,
    InvalidRequest,
    ModelNotFound,
    NoOutput,
)
from wanworker.media.threads import in_thread
from wanworker.spec import Upload

#: Longer names are cut. With the request id in front, a file name may have 255 bytes.
_NAME_BYTES = 150


class CheckedGraph(NamedTuple):
    """
    Hold a caller's graph that the server accepts.

    `remarks` tell what was filled in or changed. `left_out` says of each output node that cannot run why, and that it
    was removed, because others can.
    """

    graph: Graph
    remarks: tuple[str, ...]
    left_out: tuple[str, ...]


async def checked_graph(
    client: ComfyClient,
    document: Mapping[str, Any],
    sent: Collection[str] = (),
    slots: Mapping[str, Any] = MappingProxyType({}),
    *,
    now: Callable[[], datetime] = datetime.now,
) -> CheckedGraph:
    """
    Return *document*, with *slots* set in it (see graph/slots.py), as a graph that the server accepts.

    A document in the browser's own format is first converted with the server's classes. *sent* are the names of files
    that come with the graph; the server need not have them yet. *now* tells the local time, for `%date:...%` in a file
    name. Raises GraphRefused, ModelNotFound and InvalidRequest (for a slot) with every problem at once, before anything
    is queued.
    """
    remarks: tuple[str, ...] = ()
    if is_ui_format(document):
        # A large workflow takes seconds, and the loop has other jobs.
        converted = await in_thread(_converted, document, await client.object_info(), now(), sent, slots)
        if not converted.graph:
            raise _nothing_runs(document)
        graph, remarks = read_graph(converted.graph), tuple(converted.warnings)
    else:
        graph = read_graph(document)
    places: frozenset[tuple[str, str]] = frozenset()
    if slots:
        classes = await client.node_classes({str(body["class_type"]) for body in graph.values()})
        filled = with_slots(graph, slots, classes)
        # Read again: a file name that a slot sets is held to the same rules.
        graph, places, remarks = read_graph(filled.graph), filled.places, (*remarks, *filled.remarks)
    with naming_unused(unread(with_uploads(graph, dict.fromkeys(sent, ""))[1], sent)):
        found = await validate(client, graph, sent)
        # A value that the request itself set is never dropped in favour of other outputs.
        if refused := [problem for problem in found.left_out if (problem.node, problem.input) in places]:
            raise as_error(refused, models_place=client.models_place)
    classes = await client.node_classes({str(body["class_type"]) for body in found.graph.values()})
    remarks = (*remarks, *found.remarks, *changed_prefixes(found.graph, classes))
    return CheckedGraph(found.graph, remarks, tuple(map(as_warning, found.left_out)))


def _converted(
    document: Mapping[str, Any], info: ObjectInfo, now: datetime, sent: Collection[str], slots: Mapping[str, Any]
) -> Converted:
    """Convert *document*. The refusal of classes that the server lacks also names what else is wrong with it."""
    try:
        return api_graph(document, info, now=now)
    except MissingClasses as error:
        if not (others := _others(error.rest, info, sent, slots)):
            raise
        message = f"{error} Its other nodes cannot run either: {told(others)}."
        raise GraphRefused(message, hint=error.hint, field=error.field) from error


def _others(rest: Graph, info: ObjectInfo, sent: Collection[str], slots: Mapping[str, Any]) -> list[Problem]:
    """Return the problems of the nodes whose classes the server has; none if *slots* do not fit the graph."""
    try:
        filled = with_slots(rest, slots, info).graph
    except InvalidRequest:
        return []
    return [problem for problem in check(filled, info, sent).problems if problem.class_type in info]


def _nothing_runs(document: Mapping[str, Any]) -> GraphRefused:
    """Return the refusal of a browser's workflow of which nothing is left to send."""
    why = "all of its nodes are muted, notes or unknown to the server" if document.get("nodes") else "it has no nodes"
    return GraphRefused(f"Nothing of the workflow would run: {why}.", hint="Unmute a node that saves, or add one.")


def unread(used: Collection[str], sent: Iterable[str]) -> list[str]:
    """Return a line for each file of *sent* that is not among those *used*."""
    return [f"{name} was sent, but no node reads it." for name in sent if name not in used]


@contextmanager
def naming_unused(lines: Sequence[str]) -> Iterator[None]:
    """Add *lines* to the refusal of a graph: a file under another name is often its reason."""
    try:
        yield
    except GraphRefused as error:
        if not lines:
            raise
        raise GraphRefused(f"{error} {' '.join(lines)}", hint=error.hint, field=error.field) from error
    except ModelNotFound as error:  # its text is documented
        error.advise(" ".join(lines))
        raise


async def uploaded(client: ComfyClient, uploads: Sequence[Upload], run_id: str) -> Mapping[str, str]:
    """Send the caller's files under our own names. Return the caller's name -> the server's name."""
    sent = {}
    for number, upload in enumerate(uploads):
        name = f"{run_id}_{number}{upload.path.suffix}"
        sent[upload.name] = (await client.upload(upload.path, name=name, overwrite=True)).value
    return sent


@contextmanager
def naming_left_out(left_out: Sequence[str]) -> Iterator[None]:
    """Add to a NoOutput which output nodes were left out, because one of them may be the reason."""
    try:
        yield
    except NoOutput as error:
        raise NoOutput(" ".join((str(error), *left_out)), hint=error.hint) from error


class Fetched(NamedTuple):
    """Hold the files that were downloaded, in the graph's order, and a warning for each that was not."""

    files: tuple[Path, ...]
    warnings: tuple[str, ...] = ()


async def fetched(
    client: ComfyClient, outputs: Sequence[OutputFile], out_dir: Path, run_id: str, *, may_restart: bool = False
) -> Fetched:
    """
    Download every output into *out_dir*. Files with the same name from two folders both stay.

    An output that the server no longer has, or that cannot be downloaded, does not stop the others. Raises the reason
    if there are no others, DiskFull, and Unreachable if a dead server *may_restart* to run the graph again.
    """
    paths: list[Path] = []
    taken: set[str] = set()
    failures: dict[OutputFile, EngineError] = {}
    for output in outputs:
        name = _plain_name(output.filename, run_id)
        target, number = out_dir / name, 2
        while target.name.casefold() in taken:  # some volumes treat `a.png` and `A.png` as one name
            target, number = out_dir / f"{Path(name).stem}_{number}{Path(name).suffix}", number + 1
        try:
            await client.view(output, target)
        except (NoOutput, EngineFailed, EngineUnavailable) as error:
            if may_restart and isinstance(error, Unreachable):
                raise
            failures[output] = error
        else:
            paths.append(target)
            taken.add(target.name.casefold())
    if failures and not paths:
        raise _the_reason(failures)
    return Fetched(tuple(paths), tuple(_lost(output, error) for output, error in failures.items()))


def _lost(output: OutputFile, error: EngineError) -> str:
    return f"Output {output.filename!r} of node {output.node} is lost: {error}"


def _the_reason(failures: Mapping[OutputFile, EngineError]) -> EngineError:
    """Return the error of a run of which no file is left: NoOutput with every reason, if they are not all the same."""
    errors = tuple(failures.values())
    if len({str(error) for error in errors}) == 1:
        return errors[0]
    return NoOutput(" ".join(_lost(output, error) for output, error in failures.items()), hint=errors[0].hint)


def _plain_name(filename: str, run_id: str) -> str:
    """Return the name without folders and without the run's id, which our prefix has added."""
    path = Path(filename.replace("\\", "/"))
    stem = path.stem.replace(f"_{run_id}", "").replace(run_id, "output")
    cut = stem.encode()[: _NAME_BYTES - len(path.suffix.encode())].decode(errors="ignore")
    return f"{cut}{path.suffix}"
