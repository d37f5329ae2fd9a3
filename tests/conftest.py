"""What every test starts from: none of our variables in the environment, and settings below its own folder."""

from __future__ import annotations

import dataclasses
import functools
import gc
import os
import signal
from collections.abc import AsyncIterator, Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from wanworker.settings import Settings

if TYPE_CHECKING:
    from fakes.comfyui_wan import WanServer
    from wanworker.app import Worker

#: Our own variables, whoever runs the tests.
OURS = frozenset(str(field.validation_alias) for field in Settings.model_fields.values())

#: What nohup, or a shell that runs the tests in the background, has this process ignore.
IGNORED = tuple(
    number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_IGN
)


#: How long a slow test may take, in seconds.
SLOW_LIMIT_S = 600


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage while the tests are read, and never look again through what is there then: it stays.

    The syntax trees of asserts, the modules and thousands of tests made half of that time a search for garbage.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give a slow test more time. Its children import torch, which a machine of load 20 stretches to minutes."""
    if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
        item.add_marker(pytest.mark.timeout(SLOW_LIMIT_S))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Give the programs that a test starts no ignored signal to inherit; this process does nothing for one, as before.

    A hook, because it comes before the fixtures of a module, and in each test, because asyncio resets what it had.
    """
    for number in IGNORED:
        signal.signal(number, lambda _number, _frame: None)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave no variable of ours or RunPod's to a test, and one thread to the programs that it starts."""
    for name in list(os.environ):
        if name in OURS or name.startswith("RUNPOD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Return a function that builds Settings with models and outputs below *tmp_path*, and any fields given to it."""

    def make(**fields: Any) -> Settings:
        places = {"ckpt_dir": tmp_path / "models", "out_dir": tmp_path / "outputs", "wan_home": tmp_path / "Wan2.2"}
        return Settings(**{**places, **fields})

    return make


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    """Return settings with every default but the places."""
    return make_settings()


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return one real file of each kind that ComfyUI saves, by ending."""
    from fakes.comfyui_wan import media

    return media(tmp_path_factory.mktemp("media"))


@pytest.fixture
async def comfyui(tmp_path: Path, films: dict[str, bytes]) -> AsyncIterator[WanServer]:
    """Run a fake ComfyUI with the documents' models, whose savers write real files."""
    from fakes.comfyui_wan import WanServer

    async with WanServer(tmp_path / "comfyui") as server:
        server.nodes.media = films
        yield server


@pytest.fixture
async def comfyui_worker(
    make_settings: Callable[..., Settings], comfyui: WanServer
) -> AsyncIterator[Callable[..., Worker]]:
    """
    Return a function that builds a worker whose ComfyUI is the fake one; each is closed at the end.

    The worker waits long for an answer: on a busy machine this process, which answers itself, may have no turn for
    seconds.
    """
    from wanworker.app import Worker
    from wanworker.engines import ENGINES
    from wanworker.engines.comfyui.engine import ComfyUI

    workers: list[Worker] = []
    patient = functools.partial(ComfyUI, answer_s=100.0)
    rows = [dataclasses.replace(row, build=patient) if row.name == "comfyui" else row for row in ENGINES]

    def make(**fields: Any) -> Worker:
        settings = make_settings(**{"comfyui_url": comfyui.url, "allow_hosts": "127.0.0.1", **fields})
        workers.append(Worker(settings, engines=rows))
        return workers[-1]

    yield make
    for worker in workers:
        await worker.close()
