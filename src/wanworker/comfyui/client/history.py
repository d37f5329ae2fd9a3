"""Read how a prompt ended from its entry in a ComfyUI server's history. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from wanworker.errors import EngineFailed, NoOutput, OutOfMemory

Ending = Literal["success", "error", "interrupted"]

_ENDINGS: Mapping[str, Ending] = {
    "execution_success": "success",
    "execution_error": "error",
    "execution_interrupted": "interrupted",
}

#: What torch, CUDA, ComfyUI, numpy and the C library write when memory runs out. A library with too much thread-local
#: data "cannot allocate memory in static TLS block"; that is another fault.
_OUT_OF_MEMORY = re.compile(
    r"out[ _]?of[ _]?memory|MemoryError|would exceed allowed memory|(not enough|insufficient) memory|std::bad_alloc"
    r"|(can't|cannot|could not|unable to|failed to) allocate (?!memory in static TLS)([\d.,]{1,20} ?\w{0,4}b|memory)"
    r"|(CUBLAS|CUDNN)_STATUS_ALLOC|cudaErrorMemoryAllocation|paging file is too small",
    re.IGNORECASE,
)

#: A node's message is cut here. A longer one is a dump, for example of a state dict's mismatches.
_MESSAGE_CHARS = 600


def says_out_of_memory(text: str) -> bool:
    """Say whether an exception or a log says that memory ran out."""
    return _OUT_OF_MEMORY.search(text) is not None


@dataclass(frozen=True, slots=True)
class OutputFile:
    """
    Hold one file that a node made, with the names that `GET /view` needs.

    `type` is output or temp. `key` is the list that named it: images (also for videos of the core's nodes), gifs, audio
    ... Its name, not its key, says what kind of file it is.
    """

    filename: str
    subfolder: str
    type: str
    node: str
    key: str


@dataclass(frozen=True, slots=True)
class NodeFailure:
    """Say which node raised what."""

    node: str
    class_type: str
    exception_type: str
    message: str

    @property
    def is_out_of_memory(self) -> bool:
        """Say whether the memory of the graphics card or of the machine ran out."""
        return says_out_of_memory(f"{self.exception_type} {self.message}")

    def __str__(self) -> str:
        lines = [line.strip() for line in self.message.splitlines() if line.strip()]
        text = " ".join(lines) or "no message"
        text = text if len(text) <= _MESSAGE_CHARS else f"{text[:_MESSAGE_CHARS]} ..."
        return f"Node {self.node} ({self.class_type}) failed: {self.exception_type}: {text}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Hold how a prompt ended, and its files. An interrupted or failed prompt may have files too."""

    ending: Ending
    outputs: tuple[OutputFile, ...] = ()
    failure: NodeFailure | None = None
    cached: tuple[str, ...] = ()
    execution_s: float | None = None

    def checked(self) -> Outcome:
        """Return this outcome if it is a success with files. Raises OutOfMemory, EngineFailed or NoOutput."""
        if self.ending == "interrupted":
            message = "Somebody else told the ComfyUI server to interrupt the run."
            raise EngineFailed(message, hint="Send the request again.")
        if self.failure is not None and self.failure.is_out_of_memory:
            raise OutOfMemory(str(self.failure))
        if self.ending == "error":
            raise EngineFailed(
                str(self.failure) if self.failure else "The ComfyUI run failed, and the server does not say why."
            )
        if not self.outputs:
            message = "The graph ran and left no file: none of its output nodes saves one."
            raise NoOutput(message, hint="Add a node that saves: SaveVideo, SaveImage, VHS_VideoCombine ...")
        return self


def read_entry(entry: Mapping[str, Any], *, temp_if_alone: bool = False) -> Outcome:
    """
    Read one history entry.

    The status messages decide how the prompt ended, not its outputs: a failed prompt keeps what it saved before. Files
    of type temp (previews) count only with *temp_if_alone*, and only if there are no others. Outputs come in the
    graph's order.
    """
    status = _mapping(entry.get("status"))
    messages = [(str(item[0]), _mapping(item[1])) for item in _list(status.get("messages")) if _is_pair(item)]
    ending = _ending(status, messages)
    failure = next((_failure(data) for name, data in reversed(messages) if name == "execution_error"), None)
    cached = next((data.get("nodes") for name, data in messages if name == "execution_cached"), None)
    return Outcome(
        ending,
        read_outputs(_mapping(entry.get("outputs")), _graph_order(entry), temp_if_alone=temp_if_alone),
        failure if ending == "error" else None,
        tuple(map(str, _list(cached))),
        _duration_s(messages),
    )


def read_outputs(
    outputs: Mapping[str, Any], order: Sequence[str] = (), *, temp_if_alone: bool = False
) -> tuple[OutputFile, ...]:
    """
    Collect every `{filename}` in every list of *outputs* (node id to what the node shows).

    Files of type input are skipped, because a node that shows its input has made nothing.
    """
    rank = {node: position for position, node in enumerate(order)}
    nodes = sorted(outputs, key=lambda node: rank.get(node, rank.get(node.partition(".")[0], len(rank))))
    # A file that is shown twice (by a node and its expansion) counts once.
    found = {(file.filename, file.subfolder, file.type): file for node in nodes for file in _files(node, outputs[node])}
    kept = tuple(file for file in found.values() if file.type not in {"temp", "input"})
    temporary = tuple(file for file in found.values() if file.type == "temp")
    return temporary if temp_if_alone and not kept else kept


def _files(node: str, shown: object) -> Iterator[OutputFile]:
    for key, items in _mapping(shown).items():
        for item in _list(items):
            name = _mapping(item).get("filename")
            if isinstance(name, str) and name:
                yield OutputFile(name, str(item.get("subfolder") or ""), str(item.get("type") or "output"), node, key)


def _ending(status: Mapping[str, Any], messages: Sequence[tuple[str, Mapping[str, Any]]]) -> Ending:
    for name, _ in reversed(messages):
        if name in _ENDINGS:
            return _ENDINGS[name]
    return "success" if status.get("status_str") == "success" and status.get("completed") is True else "error"


def _failure(data: Mapping[str, Any]) -> NodeFailure:
    node, class_type, kind, message = (
        str(data.get(key, "")) for key in ("node_id", "node_type", "exception_type", "exception_message")
    )
    return NodeFailure(node, class_type, kind, message.strip())


def _duration_s(messages: Sequence[tuple[str, Mapping[str, Any]]]) -> float | None:
    times = [data["timestamp"] for _, data in messages if isinstance(data.get("timestamp"), int | float)]
    return (times[-1] - times[0]) / 1000 if len(times) > 1 else None


def _graph_order(entry: Mapping[str, Any]) -> tuple[str, ...]:
    prompt = _list(entry.get("prompt"))
    return tuple(map(str, _mapping(prompt[2]))) if len(prompt) > 2 else ()


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_pair(item: object) -> bool:
    return isinstance(item, list) and len(item) == 2
