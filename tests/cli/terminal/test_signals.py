"""Signals, by real ones sent to this very process."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from wanworker.cli.terminal.signals import exiting_on_signals, holding_signals, run_stoppable


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_cancels_the_command_and_names_the_exit_code(number: int, expected: int) -> None:
    cleaned = []

    async def command() -> int:
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(0)
            cleaned.append("up")
        return 0

    assert expected == run_stoppable(command)
    assert ["up"] == cleaned


def test_a_second_signal_cuts_the_clean_up_short() -> None:
    async def command() -> int:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(30)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(30)
        return 0

    assert 130 == run_stoppable(command)


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_process_by_an_exception_and_only_inside(number: int, expected: int) -> None:
    before = signal.getsignal(number)

    with pytest.raises(SystemExit) as caught, exiting_on_signals():
        signal.raise_signal(number)

    assert expected == caught.value.code
    assert before == signal.getsignal(number)


def test_a_signal_that_is_held_comes_when_the_body_is_done() -> None:
    done = []

    def body() -> None:
        with holding_signals():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("all of it")

    with pytest.raises(KeyboardInterrupt):
        body()

    assert ["all of it"] == done


def test_a_signal_that_the_shell_ignored_stays_ignored() -> None:
    async def command() -> int:
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0)
        return 7

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert 7 == run_stoppable(command)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_cancellation_that_no_signal_brought_is_passed_on() -> None:
    async def command() -> int:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        run_stoppable(command)
