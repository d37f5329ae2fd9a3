"""Define what a listing and a download can be asked for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from wanworker.actions.request.fields import Request

#: Many more would only make an answer long; the next page is one call away.
MOST_LISTED = 100

Variant = Literal["video", "thumbnail"]
Order = Literal["asc", "desc"]
Limit = Annotated[int, Field(ge=1, le=MOST_LISTED)]


def _whole(value: object) -> object:
    return "true" if isinstance(value, bool) else value  # pydantic would count true as 1


class Listed(Request):
    """Say which videos to list."""

    after: str | None = None
    limit: Annotated[Limit, BeforeValidator(_whole)] = 20
    order: Order = "desc"
