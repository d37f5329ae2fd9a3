"""Run the server process, and refuse to listen beyond loopback without a key."""

from __future__ import annotations

import errno
import gc
import ipaddress
import logging
import os
import signal
import socket
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
#: What a shell shows for a program that Ctrl-C stopped.
_EXIT_STOPPED = 128 + signal.SIGINT
#: Comfy-Org's own API proxy for ComfyUI listens there too.
_SHARED_PORT = 8189
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


def check_free(host: str, port: int) -> None:
    """Raise BadSettings if the server could not listen there, before anything is loaded."""
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise BadSettings(
            f"{host} is not an address of this machine ({error.strerror}). Set --host or REST_HOST."
        ) from error
    for family, kind, protocol, _, place in places:
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server itself does
            try:
                probe.bind(place)
            except OSError as error:
                raise BadSettings(_why_not(host, port, error)) from error


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno != errno.EADDRINUSE:
        return f"port {port} of {host} cannot be used ({error.strerror}). Choose another one with --port or REST_PORT."
    known = " (Comfy-Org's API proxy takes 8189 too.)" if port == _SHARED_PORT else ""
    return (
        f"another program already listens at port {port} of {host}.{known} Choose another one with --port or REST_PORT."
    )


def _spare_what_stays() -> None:
    """
    Take what the start has made out of the collector's sight: the modules and the routes, which stay until the end.

    Otherwise every full collection looks at all of it, and nobody is answered meanwhile, for about 70 ms.
    """
    gc.freeze()


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
    server.config.load()
    _spare_what_stays()
    try:
        server.run()
    except KeyboardInterrupt:
        return _EXIT_STOPPED  # everything has ended in order by now: uvicorn repeats the signal at its very end
    return 0 if server.started else 1
