"""The OpenAPI schema: what it documents, and a search for answers that it does not."""

import asyncio
import sys
from pathlib import Path

import pytest

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
#: Streams and long waits would use up the time.
EXCLUDED = "/events|runsync"
#: They have their own time.
VIDEOS = "/v1/videos"


@pytest.mark.slow
@pytest.mark.parametrize(
    "chosen",
    [("--exclude-path-regex", f"{EXCLUDED}|{VIDEOS}"), ("--include-path-regex", VIDEOS)],
    ids=["ours", "videos"],
)
async def test_schemathesis_finds_no_500_and_no_answer_against_the_schema(serve, tmp_path, chosen):
    pytest.importorskip("schemathesis")
    async with serve(max_queue=5) as rest:
        found = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("schemathesis")), "run", f"{rest.url}/openapi.json",
            "--checks", ",".join(CHECKS), *chosen,
            "--max-examples", "30", "--max-time", "30", "--seed", "1",
            cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await found.communicate()

    assert 0 == found.returncode, output.decode(errors="replace")[-8000:]


async def test_every_documented_route_is_in_the_schema(rest):
    _, schema = await rest.ask("GET", "/openapi.json")

    documented = {("/", "get"), ("/generate", "post"), ("/status/{job_id}", "get"), ("/download/{job_id}", "get"),
                  ("/jobs", "get"), ("/jobs/{job_id}", "delete")}  # fmt: skip
    assert documented <= {(path, method) for path, methods in schema["paths"].items() for method in methods}
    assert "A boldly colored ladybug" in schema["components"]["schemas"]["GenerateBody"]["example"]["prompt"]


async def test_a_form_has_no_null(rest):
    _, schema = await rest.ask("GET", "/openapi.json")
    form = schema["paths"]["/generate"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]

    assert "null" not in str(form)
    assert ["prompt"] == form["required"]
    assert {"type": "string", "format": "binary"} == {
        name: form["properties"]["image"][name] for name in ("type", "format")
    }


async def test_a_route_is_summed_up_by_what_it_does_and_the_first_group_is_that_of_the_jobs(rest):
    _, schema = await rest.ask("GET", "/openapi.json")

    routes = [(path, route) for path, methods in schema["paths"].items() for route in methods.values()]
    groups = [group["name"] for group in schema["tags"]]
    assert schema["paths"]["/generate"]["post"]["summary"] == "Queue a video"
    assert [path for path, route in routes if not route["description"].startswith(route["summary"])] == []
    assert groups[0] == "jobs"
    assert {name for _, route in routes for name in route["tags"]} == set(groups)
