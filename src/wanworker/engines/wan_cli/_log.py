"""Parse upstream's log lines and progress bars into stages, steps and seconds."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from wanworker.engines.base import Report
from wanworker.progress import Meter, bar_steps

#: Each stage's share of a render: 40 steps of A14B at 720p on an H100 take 1,041 s (README), loading from a local
#: disk 55 s, and an encoder or decoder a few steps' time.
_WEIGHTS: Mapping[str, float] = {
    "preparing": 8,
    "starting": 1,
    "loading": 10,
    "encoding": 2,
    "sampling": 80,
    "decoding": 5,
    "saving": 1,
    "adding sound": 1,
    "verifying": 1,
}

#: The beginning of a log message -> the stage that it opens, in the order of generate.py. A prompt cannot imitate one,
#: because its line begins with "Input prompt:".
_STAGES = (
    ("Creating Wan", "loading"),
    ("loading ", "loading"),
    ("Generating video", "encoding"),
    ("Saving generated video", "saving"),
    ("Start merging video and audio", "adding sound"),
)

#: The beginnings of messages about failures after which generate.py goes on and exits with 0.
_SWALLOWED = ("save_video failed", "merge_video_audio failed", "FFmpeg execute failed")

#: How many such messages are told, and how much of each.
_MOST_TOLD, _TOLD_CHARS = 3, 200

_MESSAGE = re.compile(r"\[[^\]]*\] [A-Z]+: (.*)")
_SHARDS = re.compile(r"Loading checkpoint shards:\s*\d+%\|[^|]*\|\s*(\d{1,9})/(\d{1,9})\b")
_ANIMATE_FRAMES = re.compile(r"real frames: \d+ target frames: (\d{1,9})\b")

#: animate's clips overlap by --refert_num 1 frame of 77 (wan_animate_14B.py).
_ANIMATE_CLIP, _ANIMATE_OVERLAP = 77, 1


class _Bars:
    """
    Count through bars of equal length that come one after another. `expected` is their number, or None.

    Several processes write the same bar, a step apart, so only a fall by more than half its length is a new bar.
    """

    def __init__(self, expected: int | None) -> None:
        self.expected = expected
        self._ended = 0
        self._last = 0

    def at(self, step: int, steps: int) -> tuple[int, int]:
        """Return (step, steps) over all bars."""
        if step < self._last - steps / 2:
            self._ended += 1
        self._last = step
        bars = max(self.expected or 1, self._ended + 1)
        return self._ended * steps + step, bars * steps


class Reading:
    """Follow one render through its output, and report where it is."""

    def __init__(self, report: Report, *, experts: int, clips: int | None, clock: Callable[[], float]) -> None:
        """
        Prepare for one render. *experts* is how many transformers are loaded, *clips* the number of bars, or None.
        """
        self._report = report
        self._clock = clock
        self._meter = Meter(_WEIGHTS, clock=clock)
        self._shards = _Bars(experts)
        self._clips = _Bars(clips)
        self._began: dict[str, float] = {}
        self.stage = "starting"
        self._swallowed: list[str] = []

    def enter(self, stage: str, step: int | None = None, steps: int | None = None) -> None:
        """Note that *stage* runs now, at *step* of *steps* if it has steps."""
        self.stage = stage
        self._began.setdefault(stage, self._clock())
        self._report(self._meter.at(stage, step, steps))

    def line(self, stream: str, text: str) -> None:
        """Read one line of generate.py. Messages come on stdout, bars on stderr."""
        if stream == "stderr":
            self._bar(text)
        elif match := _MESSAGE.match(text):
            self._message(match[1])

    def told(self) -> str:
        """Return, as a sentence to add, what was logged about failures that generate.py does not report otherwise."""
        return f" It wrote: {' | '.join(self._swallowed)}" if self._swallowed else ""

    def timings(self) -> dict[str, float]:
        """
        Return the seconds of each stage that was entered, by names such as `sampling_s`. The last stage counts up to
        now.
        """
        begins = sorted(self._began.items(), key=lambda item: item[1])
        ends = [moment for _, moment in begins[1:]] + [self._clock()]
        seconds = {f"{_key(stage)}_s": end - begin for (stage, begin), end in zip(begins, ends, strict=True)}
        load_s = seconds.pop("starting_s", 0.0) + seconds.pop("loading_s", 0.0)
        return {"load_s": load_s, **seconds}

    def _message(self, message: str) -> None:
        if message.startswith(_SWALLOWED) and len(self._swallowed) < _MOST_TOLD:
            self._swallowed.append(message[:_TOLD_CHARS])
        if match := _ANIMATE_FRAMES.match(message):
            self._clips.expected = (int(match[1]) - _ANIMATE_OVERLAP) // (_ANIMATE_CLIP - _ANIMATE_OVERLAP)
        for beginning, stage in _STAGES:
            if message.startswith(beginning) and self._is_ahead(stage):
                self.enter(stage)

    def _bar(self, text: str) -> None:
        if match := _SHARDS.match(text):
            if self.stage in {"starting", "loading"}:
                self.enter("loading", *self._shards.at(int(match[1]), int(match[2])))
        elif (bar := bar_steps(text)) and (self._is_ahead("sampling") or self.stage in {"sampling", "decoding"}):
            step, steps = self._clips.at(*bar)
            self.enter("sampling", step, steps)
            if step == steps:
                self.enter("decoding")

    def _is_ahead(self, stage: str) -> bool:
        """Say whether *stage* comes after the current one. Of two streams, one may be read a little late."""
        order = list(_WEIGHTS)
        return self.stage != "preparing" and order.index(stage) > order.index(self.stage)


def _key(stage: str) -> str:
    return stage.replace(" ", "_")
