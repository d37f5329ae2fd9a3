"""
Run one prompt on a ComfyUI server until it ends, across dropped connections and server restarts.

The websocket brings events at once, and the history decides how the prompt ended; either may end the watching. A socket
alone is not enough: it may drop, miss the end, or be forgotten by the server. A prompt that is neither in the queue nor
in the history is lost, because the server moves it from one to the other in one step.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from wanworker.clocks.awake import AwakeClock
from wanworker.comfyui.client.connection import Unreachable
from wanworker.comfyui.client.events import (
    Event,
    Executed,
    Executing,
    Failed,
    Interrupted,
    Preview,
    QueueStatus,
    Succeeded,
)
from wanworker.comfyui.client.history import Outcome, read_entry, read_outputs
from wanworker.comfyui.client.http import ComfyClient, Submitted
from wanworker.comfyui.client.websocket import listen
from wanworker.comfyui.graph.api_format import Graph
from wanworker.comfyui.graph.problems import Problem
from wanworker.comfyui.run.cancel import cancel_prompt
from wanworker.errors import EngineError, EngineFailed, EngineUnavailable, RequestError

#: The history entry follows the end event within milliseconds (in 1 of 30 runs by 2 ms), so it is asked for quickly.
_SETTLE_STEP_S = 0.005
_SETTLE_LOOKS = 100

_STALL_HINT = (
    "A node hangs, or the server's worker thread is dead. The worker restarts its own server; restart another."
)


@dataclass(frozen=True, slots=True)
class Limits:
    """
    Say how patient a run is, in seconds.

    `poll_s` is the time between two reads of the history while no event comes. `stall_s` is the longest silence of a
    running prompt; loading a model and decoding a long video are silent for minutes. `unreachable_s` is how long a
    server may be away during a run. `stop_s` limits the wait until our prompt has left the server after a cancellation.
    The time in which this process itself does not run is no silence and no absence of the server.
    """

    poll_s: float = 2.0
    stall_s: float = 1800.0
    unreachable_s: float = 60.0
    stop_s: float = 4.0


@dataclass(frozen=True, slots=True)
class Finished:
    """Hold a prompt that ended well: its outcome, and the faults of outputs that the server left out."""

    outcome: Outcome
    problems: tuple[Problem, ...] = ()


async def run_prompt(
    client: ComfyClient,
    graph: Graph,
    *,
    prompt_id: str,
    client_id: str,
    on_event: Callable[[Event], None] = lambda _: None,
    extra: Mapping[str, Any] | None = None,
    limits: Limits = Limits(),
    temp_if_alone: bool = False,
    on_wait: Callable[[int], None] = lambda _: None,
    on_queued: Callable[[], None] = lambda: None,
    on_left: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> Finished:
    """
    Queue *graph*, watch it, and return what it made.

    Both ids are fresh UUIDs of this run. *on_event* gets our prompt's events and the queue status of all clients, at
    once and in order. *on_wait* gets the number of prompts that run before ours whenever it has changed: never, if the
    server is free, and 0 at the end of the wait. *on_queued* is called once the server has the
    prompt. With *temp_if_alone*, previews count if nothing else was saved.

    Raises GraphRefused, ModelNotFound, OutOfMemory, EngineFailed (a node raised, others interrupted the run, it was
    lost, it stalled), EngineUnavailable, NoOutput. If the run ends otherwise, for example by cancellation, the prompt
    is first dequeued or interrupted, for at most `limits.stop_s`; *on_left* gets the id of a prompt that is still there
    then. The caller has to keep deadlines.
    """
    watch = _Watch(client, graph, prompt_id, on_event, on_wait, limits, temp_if_alone, clock)
    opened = asyncio.Event()
    feed = asyncio.create_task(listen(client, client_id, watch.hear, opened=opened))
    feed.add_done_callback(lambda _: watch.news.set())
    submission: asyncio.Task[Submitted] | None = None
    has_ended = False
    try:
        # The listener starts before the prompt is queued, because its first events come before the answer to its POST.
        await opened.wait()
        submission = asyncio.create_task(client.submit(graph, prompt_id=prompt_id, client_id=client_id, extra=extra))
        submitted = await watch.submitted(submission)
        on_queued()
        outcome = await watch.until_ended(feed)
        has_ended = True
    finally:
        if submission is not None and not has_ended and not _was_refused(submission):
            await _stop_for_sure(_stop(client, prompt_id, submission, limits.stop_s, on_left))
        feed.cancel()
        await asyncio.gather(feed, return_exceptions=True)
    return Finished(outcome.checked(), submitted.problems)


class _Watch:
    """Hold what is known of one prompt while it runs."""

    def __init__(
        self,
        client: ComfyClient,
        graph: Graph,
        prompt_id: str,
        on_event: Callable[[Event], None],
        on_wait: Callable[[int], None],
        limits: Limits,
        temp_if_alone: bool,
        clock: Callable[[], float],
    ) -> None:
        self._client, self._prompt_id, self._on_event, self._on_wait = client, prompt_id, on_event, on_wait
        self._order = tuple(graph)
        self._limits, self._temp_if_alone, self._clock = limits, temp_if_alone, AwakeClock(clock)
        self._heard_at = self._looked_at = self._reached_at = self._clock()
        self._shown: dict[str, Mapping[str, Any]] = {}
        self._succeeded = self._has_begun = False
        self._ahead = 0
        self._hasty_looks = 0
        self.news = asyncio.Event()

    def hear(self, event: Event) -> None:
        """Take one event of the websocket. Pass it on unless it belongs to another prompt."""
        prompt_id = getattr(event, "prompt_id", None)
        if prompt_id not in {None, self._prompt_id}:
            return
        if prompt_id or isinstance(event, Preview):
            self._heard_at = self._clock()
        if prompt_id:
            self._begun()
        if isinstance(event, QueueStatus) and event.remaining > 1 and not self._has_begun:
            self.news.set()  # the queue has moved, perhaps before us
        if isinstance(event, Executed):
            self._shown[event.node] = event.output
        if isinstance(event, Succeeded | Failed | Interrupted) or (isinstance(event, Executing) and not event.node):
            self._succeeded |= isinstance(event, Succeeded)
            self._hasty_looks = _SETTLE_LOOKS
            self.news.set()
        self._on_event(event)

    async def submitted(self, submission: asyncio.Task[Submitted]) -> Submitted:
        """Wait for the server's answer. If the answer is lost, ask whether the prompt arrived."""
        try:
            return await asyncio.shield(submission)
        except Unreachable:
            raise
        except EngineUnavailable:
            queue = await self._client.queue()
            if self._prompt_id in {*queue.running, *queue.pending} or await self._client.history(self._prompt_id):
                return Submitted(self._prompt_id)
            raise

    async def until_ended(self, feed: asyncio.Task[Any]) -> Outcome:
        """Wait for an event or `poll_s` seconds, check, and repeat, until the prompt has ended or is lost."""
        async with self._clock.looking():
            while True:
                await self._pause()
                if feed.done():
                    feed.result()
                self.news.clear()
                outcome = await self._look()
                if outcome is not None:
                    return outcome
                self._hasty_looks = max(0, self._hasty_looks - 1)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(_SETTLE_STEP_S if self._hasty_looks else self._limits.poll_s):
                await self.news.wait()
        except TimeoutError:
            pass

    async def _look(self) -> Outcome | None:
        is_quiet = self._heard_at <= self._looked_at
        self._looked_at = self._clock()
        try:
            # The queue is asked first: the prompt may move on to the history between the two questions, but not back.
            asks = (is_quiet or not self._has_begun) and not self._hasty_looks
            queue = await self._client.queue() if asks else None
            entry = await self._client.history(self._prompt_id)
        except EngineError:
            if self._clock() - self._reached_at > self._limits.unreachable_s:
                raise
            return None
        self._reached_at = self._clock()
        if entry:
            return read_entry(entry, temp_if_alone=self._temp_if_alone)
        if queue is None:
            return None
        if self._prompt_id in queue.running:
            self._begun()
            self._check_silence()
        elif self._prompt_id in queue.pending:
            self._heard_at = self._clock()
            self._waits_behind(len(queue.running) + queue.pending.index(self._prompt_id))
        else:
            return self._gone()
        return None

    def _begun(self) -> None:
        self._waits_behind(0)
        self._has_begun = True

    def _waits_behind(self, ahead: int) -> None:
        """
        Tell how many prompts are before ours, if the number is new. An answer of before our beginning may come after.
        """
        if ahead != self._ahead and not self._has_begun:
            self._ahead = ahead
            self._on_wait(ahead)

    def _check_silence(self) -> None:
        silence_s = self._clock() - self._heard_at
        if silence_s > self._limits.stall_s:
            message = f"ComfyUI lists the run as running but has sent no event for {silence_s:.0f} s."
            raise EngineFailed(message, hint=_STALL_HINT)

    def _gone(self) -> Outcome:
        """Judge a prompt that the server no longer knows. If an event said that it succeeded, our own notes count."""
        if self._succeeded:
            return Outcome("success", read_outputs(self._shown, self._order, temp_if_alone=self._temp_if_alone))
        message = "The ComfyUI server lost the run: it was restarted, or somebody cleared its queue or history."
        raise EngineFailed(message, hint="Send the request again.")


def _was_refused(submission: asyncio.Task[Submitted]) -> bool:
    """Say whether nothing of ours is on the server: it refused the graph, or no connection could be made."""
    if not submission.done() or submission.cancelled():
        return False
    return isinstance(submission.exception(), RequestError | Unreachable)


async def _stop_for_sure(stop: Coroutine[Any, Any, None]) -> None:
    """Withdraw our prompt even if the caller is cancelled again meanwhile."""
    stopping = asyncio.create_task(stop)
    try:
        await asyncio.shield(stopping)
    except asyncio.CancelledError:
        await asyncio.wait({stopping})
        raise


async def _stop(
    client: ComfyClient,
    prompt_id: str,
    submission: asyncio.Task[Submitted],
    stop_s: float,
    on_left: Callable[[str], None],
) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + stop_s
    # A prompt that has not arrived yet would be queued after this check.
    await asyncio.wait({submission}, timeout=stop_s / 2)
    if not submission.cancel():
        submission.exception()
    if not await cancel_prompt(client, prompt_id, within_s=until - loop.time()):
        on_left(prompt_id)
