"""What health says of the engines: looked up once, kept with its age; ComfyUI's state is always the newest known."""

from __future__ import annotations

import pytest

from fakes.comfyui_wan import WanServer
from fakes.engine import ScriptedEngine
from wanworker.engines import ENGINES
from wanworker.engines.base import Readiness
from wanworker.engines.facts import FactKeeper
from wanworker.engines.roster import Roster


@pytest.fixture
async def roster(make_settings, comfyui):
    made = Roster(ENGINES, make_settings(comfyui_url=comfyui.url))
    yield made
    await made.close()


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


async def test_facts_are_kept_with_their_age_until_they_are_refreshed(roster, comfyui):
    clock = Clock()
    keeper = FactKeeper(roster, clock=clock)
    first, _ = await keeper.current(refresh=False)
    clock.now = 5.0
    kept, age_s = await keeper.current(refresh=False)
    asked = comfyui.seen["GET /system_stats"]
    _, fresh_s = await keeper.current(refresh=True)

    assert kept == first
    assert (age_s, fresh_s) == (5.0, 0.0)
    assert comfyui.seen["GET /system_stats"] > asked


async def test_a_server_with_the_weights_is_online_and_ready(roster):
    facts, _ = await FactKeeper(roster).current(refresh=False)

    assert facts.comfyui_status == "online"
    assert set(facts.engines["comfyui"].values()) == {"ready"}
    assert facts.can_render_real


async def test_what_a_job_learns_of_the_server_is_told_at_once(roster, comfyui: WanServer):
    keeper = FactKeeper(roster)
    await comfyui.die()
    before, _ = await keeper.current(refresh=False)
    await comfyui.start()
    await roster.engine("comfyui").connected(lambda _progress: None)
    after, _ = await keeper.current(refresh=False)

    assert (before.comfyui_status, after.comfyui_status) == ("offline", "online")
    assert after.engines == before.engines


async def test_a_worker_without_the_engine_is_offline(settings, tmp_path):
    engine = ScriptedEngine(tmp_path / "none.mp4", state=Readiness(missing=("weights",), lacking=("a GPU",)))
    facts, _ = await FactKeeper(Roster((engine.row(),), settings)).current(refresh=False)

    assert facts.comfyui_status == "offline"
    assert facts.engines["diffusers"]["t2v-A14B"] == "weights; a GPU"
    assert not facts.can_render_real
