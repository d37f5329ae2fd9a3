"""POST /plan: generate's fields in, what the job would become out; and the same action by RunPod's routes."""

import asyncio

FIELDS = {"task": "t2v-A14B", "prompt": "a cat", "size": "64*64", "frame_num": 6, "engine": "diffusers"}


async def test_a_plan_queues_nothing_and_the_job_is_as_planned(rest):
    status, plan = await rest.ask("POST", "/plan", json=FIELDS)
    _, listed = await rest.ask("GET", "/jobs")

    assert (200, "diffusers", "scripted-1", "64*64") == (status, plan["engine"], plan["model"], plan["size"])
    assert "frame_num 6 was changed to 5: Wan renders 4n+1 frames." in plan["warnings"]
    assert (0, [], None) == (listed["total"], rest.engine.seen, plan["seconds"])


async def test_a_plan_is_refused_as_the_job_would_be(rest):
    status, refused = await rest.ask("POST", "/plan", json={**FIELDS, "sample_steps": 0})

    assert (422, "INVALID_REQUEST", "sample_steps") == (status, refused["code"], refused["field"])


async def test_runpods_routes_take_the_action(rest):
    body = {"input": {**FIELDS, "action": "plan", "price_per_hour": 1.5}}
    status, job = await rest.ask("POST", "/v2/any/runsync", json=body)

    assert (200, "COMPLETED", "scripted-1") == (status, job["status"], job["output"]["model"])
    assert job["output"]["cost"] is None


async def test_a_field_cannot_name_another_action(rest):
    status, plan = await rest.ask("POST", "/plan", json={**FIELDS, "action": "generate"})

    assert (200, 0) == (status, plan["like_jobs"])
    assert [] == rest.engine.seen


async def test_more_plans_than_the_queue_is_long_are_told_to_come_back(serve):
    gate, entered = asyncio.Event(), asyncio.Event()
    async with serve(max_queue=1) as rest:
        forecast = rest.engine.forecast

        async def held(spec):
            entered.set()
            await gate.wait()
            return await forecast(spec)

        rest.engine.forecast = held
        first = asyncio.create_task(rest.ask("POST", "/plan", json=FIELDS))
        await entered.wait()
        status, refused = await rest.ask("POST", "/plan", json=FIELDS)
        gate.set()
        assert (await first)[0] == 200
        again, _ = await rest.ask("POST", "/plan", json=FIELDS)

    assert (429, "QUEUE_FULL", 200) == (status, refused["code"], again)


async def test_a_plan_for_generate_takes_its_fields_and_warns_as_the_job(rest):
    body = {"prompt": "a cat", "width": 64, "height": 64, "length": 6, "negative_prompt": "a dog", "cfg": 1}
    status, plan = await rest.ask("POST", "/plan?for=generate", json={**body, "price_per_hour": 1.5})
    done = await rest.until(await rest.generate(**body))

    assert (200, "64*64", 5) == (status, plan["size"], plan["video"]["frames"]), plan
    assert done["warnings"] == plan["warnings"]
    assert ["length", "negative_prompt", "steps", "a"] == [line.split()[0] for line in plan["warnings"]]


async def test_a_plan_for_generate_is_refused_as_generate_would_be(rest):
    body = {"prompt": "a cat", "steps": 0}
    plan = await rest.ask("POST", "/plan?for=generate", json=body)
    sent = await rest.ask("POST", "/generate", json=body)

    assert plan == sent
    assert (422, "steps") == (plan[0], plan[1]["field"])
