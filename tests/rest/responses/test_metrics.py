"""What Prometheus reads."""

import re

from wanworker.errors import EngineFailed

LINE = re.compile(r'wanworker_[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? -?[0-9.e+-]+')


async def test_the_exposition_counts_what_happened(rest):
    async def fail(_spec, _path, _report):
        raise EngineFailed("The engine fell over.")

    await rest.until(await rest.generate())
    rest.engine.act = fail
    await rest.until(await rest.generate())
    async with rest.session.get(f"{rest.url}/metrics") as answer:
        kind, text = answer.headers["Content-Type"], await answer.text()
    samples = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    values = {name: float(value) for name, value in samples}

    assert kind.startswith("text/plain; version=0.0.4")
    assert all(LINE.fullmatch(line) for line in text.splitlines() if not line.startswith("#")), text
    assert (1, 1, 2) == (
        values['wanworker_jobs_total{status="completed"}'],
        values['wanworker_jobs_total{status="error"}'],
        values["wanworker_jobs_submitted_total"],
    )
    assert (0, 0) == (values["wanworker_queue_length"], values["wanworker_jobs_running"])
    assert 0.25 == values['wanworker_stage_seconds_total{stage="load"}']
    assert 0 == values['wanworker_engine_restarts_total{engine="diffusers"}']


async def test_an_engine_that_loads_again_was_restarted(rest):
    for _ in range(3):
        await rest.until(await rest.generate())
    _, text = await rest.bytes_of("/metrics")

    assert b'wanworker_engine_restarts_total{engine="diffusers"} 2.0\n' in text


async def test_each_family_has_its_kind_and_its_words(rest):
    _, text = await rest.bytes_of("/metrics")
    lines = text.decode().splitlines()
    families = {line.split()[2] for line in lines if line.startswith("# TYPE")}

    assert families == {line.split()[2] for line in lines if line.startswith("# HELP")}
    assert all(re.split(r"[ {]", line)[0] in families for line in lines if not line.startswith("#"))
