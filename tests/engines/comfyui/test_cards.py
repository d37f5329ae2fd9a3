"""A ComfyUI server for each card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from wanworker.comfyui.server.launch import Launch
from wanworker.engines import ENGINES
from wanworker.engines.comfyui._server_location import server_place
from wanworker.models.machine.hardware import Gpu
from wanworker.settings import Card, Settings

CARD = (Gpu("NVIDIA H200", 143_771, "9.0", "580.95"),)

MakeSettings = Callable[..., Settings]


def test_each_server_has_a_card_a_port_and_a_folder_of_its_own(make_settings: MakeSettings, tmp_path: Path) -> None:
    settings = make_settings(comfyui_root=tmp_path, gpus="2,5")
    cards = (Card(2, "2"), Card(5, "5", place=1))
    launches = [server_place(settings.on_card(card), lambda: CARD) for card in cards]

    assert all(isinstance(launch, Launch) and not launch.cpu for launch in launches)
    first, second = (launch for launch in launches if isinstance(launch, Launch))
    assert (settings.comfyui_port, settings.comfyui_port + 10) == (first.port, second.port)
    assert ("2", "5") == (first.env["CUDA_VISIBLE_DEVICES"], second.env["CUDA_VISIBLE_DEVICES"])
    assert first.work_dir != second.work_dir


@pytest.mark.parametrize(
    ("fields", "has_one"),
    [({}, True), ({"comfyui_root": "/opt/ComfyUI"}, False), ({"comfyui_url": "http://10.0.0.5:8188"}, True)],
)
def test_only_a_server_that_we_start_is_there_on_every_card(
    make_settings: MakeSettings, fields: dict[str, str], has_one: bool
) -> None:
    (row,) = (row for row in ENGINES if row.name == "comfyui")

    assert has_one == row.has_one_place(make_settings(**fields))
