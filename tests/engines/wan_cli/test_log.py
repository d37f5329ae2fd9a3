from __future__ import annotations

import itertools

from wanworker.engines.wan_cli._log import Reading
from wanworker.progress import Progress


class Render:
    """A reading with a clock that advances one second a look, and what it reports."""

    def __init__(self, *, experts: int = 2, clips: int | None = 1) -> None:
        self.progress: list[Progress] = []
        ticks = itertools.count()
        self.reading = Reading(self.progress.append, experts=experts, clips=clips, clock=lambda: float(next(ticks)))
        self.reading.enter("starting")

    def says(self, *messages: str) -> None:
        for message in messages:
            self.reading.line("stdout", f"[2026-03-17 18:48:41,123] INFO: {message}")

    def bars(self, steps: int, description: str = "") -> None:
        for step in range(steps + 1):
            line = (
                f"{description}{100 * step // steps:3d}%|\u2588\u258e        | {step}/{steps} [00:31<03:35,  6.16s/it]"
            )
            self.reading.line("stderr", line)

    @property
    def sampled(self) -> list[tuple[int | None, int | None]]:
        return [(progress.step, progress.steps) for progress in self.progress if progress.stage == "sampling"]

    @property
    def fractions(self) -> list[float]:
        return [progress.fraction for progress in self.progress]


def test_messages_open_stages() -> None:
    render = Render()

    stages = []
    for message in (
        "offload_model is not specified, set to True.",
        "Creating WanI2V pipeline.",
        "loading /models/Wan2.1_VAE.pth",
        "Generating video ...",
        "Saving generated video to /job/video.mp4",
        "Start merging video and audio...",
        "Finished.",
    ):
        render.says(message)
        stages.append(render.reading.stage)

    assert stages == ["starting", "loading", "loading", "encoding", "saving", "adding sound", "adding sound"]


def test_a_prompt_that_imitates_messages_opens_no_stage() -> None:
    render = Render()

    render.says("Input prompt: Saving generated video to the moon")
    render.reading.line("stdout", "Saving generated video to the moon")
    render.reading.line("stderr", "[now] INFO: Saving generated video to the moon")

    assert render.reading.stage == "starting"


def test_the_clips_of_a_voice_count_as_one_run() -> None:
    render = Render(experts=1, clips=3)
    render.says("Creating WanS2V pipeline.", "Generating video ...")

    for _ in range(3):
        render.bars(4)

    assert render.sampled == [
        *[(step, 12) for step in range(5)],
        *[(step, 12) for step in range(4, 9)],
        *[(step, 12) for step in range(8, 13)],
    ]
    assert render.reading.stage == "decoding"
    assert render.fractions == sorted(render.fractions)


def test_animates_log_tells_the_number_of_clips() -> None:
    render = Render(experts=1, clips=None)
    render.says("Creating Wan-Animate pipeline.", "Generating video ...", "real frames: 100 target frames: 153")

    render.bars(20)

    assert render.sampled[-1] == (20, 40)
    assert render.reading.stage == "sampling"


def test_more_clips_than_expected_make_the_run_longer_and_never_fall() -> None:
    render = Render(clips=None)

    render.bars(10)
    render.bars(10)

    assert render.sampled[-1] == (20, 20)
    assert render.fractions == sorted(render.fractions)


def test_bars_of_several_processes_are_one_clip() -> None:
    render = Render(clips=1)
    lines = [f"{step * 10:3d}%|#| {step}/10 [00:01<00:09]" for step in range(11)]

    for first, second in itertools.pairwise(lines):
        for line in (second, first, second):
            render.reading.line("stderr", line)

    assert render.sampled[-1] == (10, 10)


def test_loading_bars_of_both_experts_fill_the_loading_stage() -> None:
    render = Render(experts=2)
    render.says("Creating WanT2V pipeline.")

    render.bars(6, "Loading checkpoint shards: ")
    render.bars(6, "Loading checkpoint shards: ")

    assert render.progress[-1].stage == "loading"
    assert (render.progress[-1].step, render.progress[-1].steps) == (12, 12)
    assert render.sampled == []


def test_a_line_that_is_read_late_does_not_turn_the_stage_back() -> None:
    render = Render()

    render.says("Creating WanT2V pipeline.", "Generating video ...")
    render.bars(2, "Loading checkpoint shards: ")
    render.says("Saving generated video to /job/video.mp4")
    render.bars(2)
    render.says("Generating video ...")

    assert render.reading.stage == "saving"


def test_bars_of_the_preprocessing_are_no_steps() -> None:
    render = Render()
    render.reading.enter("preparing")

    render.bars(5)

    assert render.reading.stage == "preparing"


def test_the_seconds_of_the_stages_are_kept() -> None:
    render = Render()
    render.says("Creating WanT2V pipeline.", "Generating video ...")
    render.bars(3)
    render.says("Saving generated video to /job/video.mp4")

    timings = render.reading.timings()

    assert list(timings) == ["load_s", "encoding_s", "sampling_s", "decoding_s", "saving_s"]
    assert all(seconds > 0 for seconds in timings.values())


def test_swallowed_failures_are_told() -> None:
    render = Render()
    before = render.reading.told()

    render.says("save_video failed, error: no codec", "merge_video_audio failed with error: no sound", "Finished.")

    assert before == ""
    assert render.reading.told() == (
        " It wrote: save_video failed, error: no codec | merge_video_audio failed with error: no sound"
    )


def test_numbers_too_long_to_read_are_no_messages() -> None:
    """A prompt of several lines can imitate any line, and Python refuses to read a number of thousands of digits."""
    render, long = Render(clips=None), "9" * 5000
    render.says(f"real frames: 1 target frames: {long}")
    render.reading.line("stderr", f"Loading checkpoint shards:   0%|   | 1/{long} [00:00<?]")
    render.reading.line("stderr", f"  0%|   | {long}/{long} [00:00<?]")

    assert render.sampled == []


def test_of_endless_failures_the_first_ones_are_told() -> None:
    render = Render()
    render.says(*(f"save_video failed, error: {number}" for number in range(1000)))

    assert "error: 0" in render.reading.told()
    assert len(render.reading.told()) < 1000
