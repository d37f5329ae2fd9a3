"""What POST /generate asks of the finished clip reaches the action, and is refused where the action would refuse it."""

from __future__ import annotations

import pytest

from wanworker.actions.generate.order import asked_of
from wanworker.actions.generate.request import GenerateRequest
from wanworker.errors import InvalidRequest
from wanworker.rest.schemas.generate import GenerateBody, generate_fields


def asked(**fields: object) -> dict[str, object]:
    body = GenerateBody.model_validate({"prompt": "a star", **fields})
    return generate_fields(body, body.resolved([]))


def test_the_finished_clip_is_asked_of_the_action() -> None:
    request = GenerateRequest.model_validate(
        asked(target_fps=60, upscale=2, soundtrack_url="https://example.com/tune.mp3")
    )

    assert (60, (2, None)) == (request.target_fps, request.checked_upscale())
    assert "https://example.com/tune.mp3" == request.soundtrack_url


def test_a_wrong_factor_is_refused_before_the_job_is_queued() -> None:
    with pytest.raises(InvalidRequest, match=r"^upscale must be 2, 4 or the name of an upscale model; got"):
        asked_of(GenerateRequest.model_validate(asked(upscale=3)))


def test_what_is_left_out_is_left_out_of_the_action() -> None:
    assert {"target_fps", "upscale", "soundtrack_url"}.isdisjoint(asked())
