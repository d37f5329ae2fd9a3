"""Run the server process, and refuse to listen beyond loopback without a key."""

from __future__ import annotations

import ipaddress
import logging
import sys

import uvicorn

from wanworker.app import Worker
from wanworker.rest._app import create_app
from wanworker.rest._descriptors import raise_file_limit
from wanworker.rest.http.limits import LIMITS, Limits
from wanworker.rest.http.wire.protocol import protocol_of
from wanworker.settings import BadSettings, Settings

log = logging.getLogger(__name__)

#: Event streams do not end by themselves, so they are cut this many seconds after a signal.
_GRACE_S = 3
_EVERYWHERE = "0.0.0.0"  # noqa: S104 - behind RunPod's load balancer, which authenticates


def address(settings: Settings, host: str | None = None, port: int | None = None) -> tuple[str, int]:
    """Return where to listen. Raises BadSettings for an unprotected address that other machines can reach."""
    behind_balancer = settings.port is not None
    if host is None:
        is_chosen = "rest_host" in settings.model_fields_set or not behind_balancer
        host = settings.rest_host if is_chosen else _EVERYWHERE
    if port is None:
        port = settings.port or settings.rest_port
    is_guarded = settings.api_key is not None or behind_balancer or settings.rest_allow_open
    if not is_loopback(host) and not is_guarded:
        raise BadSettings(
            f"REST_HOST is {host}, which others can reach, and there is no WAN_API_KEY. Set a key, or set "
            "REST_ALLOW_OPEN=true if everybody may use this server."
        )
    return host, port


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach *host*."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


#: How long a thread may hold Python's lock while another one waits for it, in seconds.
_SWITCH_S = 0.0005


def config_of(worker: Worker, settings: Settings, host: str, port: int, *, limits: Limits = LIMITS) -> uvicorn.Config:
    """Return how uvicorn runs the application. Logging stays as the caller has set it up."""
    return uvicorn.Config(
        create_app(worker, settings, limits),
        host=host,
        port=port,
        http=protocol_of(limits),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
    )


def serve(worker: Worker, settings: Settings, host: str, port: int) -> int:
    """Serve until a signal ends it, and return the exit code."""
    # Threads read records and write JSON. By default each may keep the event loop waiting for 5 ms at every turn.
    sys.setswitchinterval(_SWITCH_S)
    log.info("serving on http://%s:%d (page: /ui, schema: /docs)", host, port)
    limits = LIMITS.within(raise_file_limit())
    server = uvicorn.Server(config_of(worker, settings, host, port, limits=limits))
    server.run()
    return 0 if server.started else 1
