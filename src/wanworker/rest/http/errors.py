"""Define the errors that only HTTP has. error_responses.py renders them like all others."""

from __future__ import annotations

from wanworker.errors import RequestError, WorkerError


class NotReady(RequestError):
    """The job has no video yet, or never will."""

    code = "NOT_READY"
    http_status = 409
    default_hint = "Ask /status until video_ready is true."


class Gone(RequestError):
    """The video was downloaded or has expired."""

    code = "GONE"
    http_status = 410
    default_hint = "Render it again; DOWNLOAD_ONCE=false and OUTPUT_TTL_S keep videos longer."


class TooLarge(RequestError):
    """The request's body is too large."""

    code = "TOO_LARGE"
    http_status = 413
    default_hint = "Send a smaller picture, or its image_url."


class WrongMediaType(RequestError):
    """The request's body is neither JSON nor a form."""

    code = "WRONG_MEDIA_TYPE"
    http_status = 415
    default_hint = "Send application/json, or multipart/form-data with the picture as `image`."


class Unauthorized(RequestError):
    """The API key is missing or wrong."""

    code = "UNAUTHORIZED"
    http_status = 401
    default_hint = "Send the header `Authorization: Bearer KEY` with the key in WAN_API_KEY."


class Forbidden(RequestError):
    """A page of another site sends this request through somebody's browser."""

    code = "FORBIDDEN"
    http_status = 403
    default_hint = "Call the API from a program, or from its own page at /ui."


class Slow(RequestError):
    """The request did not arrive in time."""

    code = "REQUEST_TIMEOUT"
    http_status = 408
    default_hint = "Send the whole request at once, over a connection that is fast enough."


class HeadTooLarge(RequestError):
    """The request's address and headers are too large or too many."""

    code = "HEADERS_TOO_LARGE"
    http_status = 431
    default_hint = "Send fewer or shorter headers and cookies, and a shorter address."


class BrokenRequest(RequestError):
    """The request is not HTTP, or broke off."""

    code = "BAD_REQUEST"
    http_status = 400
    default_hint = "Send HTTP/1.1; this port does not speak HTTPS."


class Busy(WorkerError):
    """The server has as many connections, bodies or streams as it allows."""

    code = "SERVER_BUSY"
    http_status = 503
    default_hint = "Send the request again after the time in Retry-After."
    retry_after_s = 5
