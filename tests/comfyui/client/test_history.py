"""History entries of a real server say how a prompt ended and what it left."""

from __future__ import annotations

import pytest

from fakes.comfyui_recordings import history
from wanworker.comfyui.client.history import Outcome, OutputFile, read_entry, read_outputs, says_out_of_memory
from wanworker.errors import EngineFailed, NoOutput, OutOfMemory


def names(outcome: Outcome) -> list[str]:
    return [file.filename for file in outcome.outputs]


def test_a_video_is_found_with_its_folder_node_and_key() -> None:
    outcome = read_entry(history("success_i2v_lora4"))

    (file,) = outcome.outputs
    assert ("success", "video", "output", "108", "images") == (
        outcome.ending, file.subfolder, file.type, file.node, file.key,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gifs_vhs_like", ["gif_1.mp4"]),
        ("audio", ["x_00002_.flac", "x_00001_.mp3"]),
        ("three_outputs", ["wan22_i2v_00008_.mp4", "two_00001_.webp"]),
        ("text_and_unknown_keys_nan", ["a.txt"]),
        ("no_outputs", []),
        ("executed_output_null", []),
        ("expanded_node_ids", []),
    ],
)
def test_every_file_under_any_key_counts_in_the_graphs_order_but_no_preview(name: str, expected: list[str]) -> None:
    outcome = read_entry(history(name))

    assert "success" == outcome.ending
    assert expected == names(outcome)


def test_frames_come_one_by_one() -> None:
    assert 9 == len(read_entry(history("png_frames")).outputs)


def test_previews_count_only_when_asked_and_alone() -> None:
    alone, beside = history("temp_previewimage"), history("three_outputs")

    assert [] == names(read_entry(alone))
    assert 9 == len(read_entry(alone, temp_if_alone=True).outputs)
    assert 2 == len(read_entry(beside, temp_if_alone=True).outputs)


def test_a_file_of_the_input_folder_is_no_output() -> None:
    shown = {"1": {"images": [{"filename": "mine.png", "type": "input"}]}}

    assert () == read_outputs(shown)


def test_a_file_shown_twice_is_one() -> None:
    item = {"filename": "a.mp4", "subfolder": "s", "type": "output"}

    found = read_outputs({"2": {"images": [item]}, "2.0.1": {"gifs": [item, 3, None]}}, ["2"])

    assert (OutputFile("a.mp4", "s", "output", "2.0.1", "gifs"),) == found


def test_out_of_memory_is_its_own_error_and_names_the_node() -> None:
    outcome = read_entry(history("error_oom"))

    assert "error" == outcome.ending
    with pytest.raises(OutOfMemory, match=r"Node 1 \(TestRaise\).*would exceed allowed memory"):
        outcome.checked()


@pytest.mark.parametrize(
    "said",
    [
        "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 8 bytes.",
        "OSError: [Errno 12] Cannot allocate memory",
        "unable to mmap 28577073392 bytes from file </m.safetensors>: Cannot allocate memory (12)",
        "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 3.20 GiB for an array with shape (81, 720)",
        "RuntimeError: CUDA driver error: CUDA_ERROR_OUT_OF_MEMORY",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
        "MemoryError: ",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "RuntimeError: CUDNN_STATUS_ALLOC_FAILED",
        "OSError: The paging file is too small for this operation to complete. (os error 1455)",
    ],
)
def test_memory_that_ran_out_is_recognised_by_all_its_names(said: str) -> None:
    assert says_out_of_memory(said)


@pytest.mark.parametrize(
    "said",
    [
        "ImportError: libgomp.so.1: cannot allocate memory in static TLS block",
        "The size of tensor a (64) must match the size of tensor b (32)",
        "Cannot allocate a node of class 'X'",
    ],
)
def test_what_only_sounds_like_it_is_another_fault(said: str) -> None:
    assert not says_out_of_memory(said)


def test_a_failure_carries_its_message_but_no_traceback() -> None:
    outcome = read_entry(history("error_runtime"))

    assert outcome.failure is not None
    with pytest.raises(EngineFailed, match=r"^Node 1 \(TestRaise\) failed: RuntimeError: boom second line$"):
        outcome.checked()


@pytest.mark.parametrize("name", ["interrupted", "interrupted_after_an_output"])
def test_an_interrupted_run_is_told_from_a_failed_one(name: str) -> None:
    outcome = read_entry(history(name))

    assert "interrupted" == outcome.ending
    with pytest.raises(EngineFailed, match="interrupt"):
        outcome.checked()


def test_an_execution_that_was_blocked_is_a_success() -> None:
    assert "success" == read_entry(history("execution_blocked_not_fatal")).ending


def test_outputs_beside_an_error_are_no_success() -> None:
    entry = {**history("success_i2v_lora4"), "status": history("error_runtime")["status"]}

    assert "error" == read_entry(entry).ending


def test_a_success_without_files_is_no_output() -> None:
    with pytest.raises(NoOutput, match="left no file"):
        read_entry(history("no_outputs")).checked()


def test_cached_nodes_and_the_servers_own_time_are_kept() -> None:
    outcome = read_entry(history("cached_same_again"))

    assert 17 == len(outcome.cached)
    assert outcome.execution_s is not None
    assert 0 <= outcome.execution_s < 1


@pytest.mark.parametrize(
    "entry",
    [{}, {"status": None}, {"status": {"messages": [None, [], ["execution_start"]]}}, {"outputs": [], "prompt": {}}],
)
def test_an_entry_that_does_not_say_how_it_ended_is_a_failure(entry: dict[str, object]) -> None:
    outcome = read_entry(entry)

    assert ("error", ()) == (outcome.ending, outcome.outputs)
    with pytest.raises(EngineFailed, match="does not say why"):
        outcome.checked()


def test_an_old_status_without_messages_is_believed() -> None:
    entry = {"status": {"status_str": "success", "completed": True, "messages": []}}

    assert "success" == read_entry(entry).ending


def test_a_long_message_is_cut() -> None:
    entry = history("error_runtime")
    entry["status"]["messages"][-1][1]["exception_message"] = "size mismatch " * 1000

    assert 700 > len(str(read_entry(entry).failure))
