"""Run a caller's own graph: convert it, check it, and fetch its outputs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from wanworker.comfyui.client.history import OutputFile
from wanworker.comfyui.client.http import ComfyClient
from wanworker.comfyui.graph.api_format import Graph, is_ui_format, read_graph, upload_name
from wanworker.comfyui.graph.preflight import Preflight, check
from wanworker.comfyui.graph.problems import as_error
from wanworker.comfyui.run.validate import validate
from wanworker.comfyui.ui_workflow.convert import api_graph
from wanworker.errors import GraphRefused
from wanworker.spec import Upload

#: Longer names are cut. With the request id in front, a file name may have 255 bytes.
_NAME_BYTES = 150


async def checked_graph(
    client: ComfyClient,
    document: Mapping[str, Any],
    sent: Collection[str] = (),
    *,
    now: Callable[[], datetime] = datetime.now,
) -> tuple[Graph, tuple[str, ...]]:
    """
    Return *document* as a graph that the server accepts, with a remark for everything that was filled in.

    A document in the browser's own format is first converted with the server's classes. *sent* are the names of files
    that come with the graph; the server need not have them yet. *now* tells the local time, for `%date:...%` in a file
    name. Raises GraphRefused and ModelNotFound with every problem at once, before anything is queued.
    """
    remarks: tuple[str, ...] = ()
    if is_ui_format(document):
        converted = api_graph(document, await client.object_info(), now=now())
        graph, remarks = converted.graph, tuple(converted.warnings)
    else:
        graph = read_graph(document)
    admitted = await _admitted(client, graph, sent)
    return admitted.graph, (*remarks, *admitted.remarks)


async def _admitted(client: ComfyClient, graph: Graph, sent: Collection[str]) -> Preflight:
    try:
        return await validate(client, graph)
    except GraphRefused:
        if not sent:
            raise
    # Loaders without an upload flag (VideoHelperSuite's) list the server's files, and ours are not there yet.
    found = check(graph, await client.object_info())
    problems = [problem for problem in found.problems if not _is_sent(problem.value, sent)]
    if problems:
        raise as_error(problems, models_place=client.models_place)
    return found


def _is_sent(value: object, sent: Collection[str]) -> bool:
    return isinstance(value, str) and upload_name(value) in sent


async def uploaded(client: ComfyClient, uploads: Sequence[Upload], run_id: str) -> Mapping[str, str]:
    """Send the caller's files under our own names. Return the caller's name -> the server's name."""
    sent = {}
    for number, upload in enumerate(uploads):
        name = f"{run_id}_{number}{upload.path.suffix}"
        sent[upload.name] = (await client.upload(upload.path, name=name, overwrite=True)).value
    return sent


async def fetched(client: ComfyClient, outputs: Sequence[OutputFile], out_dir: Path, run_id: str) -> tuple[Path, ...]:
    """
    Download every output into *out_dir*, in the graph's order. Files with the same name from two folders both stay.
    """
    paths: list[Path] = []
    for output in outputs:
        name = _plain_name(output.filename, run_id)
        target, number = out_dir / name, 2
        while target in paths:
            target, number = out_dir / f"{Path(name).stem}_{number}{Path(name).suffix}", number + 1
        await client.view(output, target)
        paths.append(target)
    return tuple(paths)


def _plain_name(filename: str, run_id: str) -> str:
    """Return the name without folders and without the run's id, which our prefix has added."""
    path = Path(filename.replace("\\", "/"))
    stem = path.stem.replace(f"_{run_id}", "").replace(run_id, "output")
    cut = stem.encode()[: _NAME_BYTES - len(path.suffix.encode())].decode(errors="ignore")
    return f"{cut}{path.suffix}"
