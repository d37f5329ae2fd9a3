"""Find the ComfyUI server that the settings name: a remote one, or a local one and how to start it."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from wanworker.comfyui.server.launch import interpreter_of
from wanworker.comfyui.server.supervisor import Launch
from wanworker.models.machine.hardware import Gpu
from wanworker.settings import Settings, child_environment

#: Without a GPU, the server is used only if a request names it: a 14B video would take hours on the processor.
_NO_GPU = "no NVIDIA GPU: a ComfyUI server started here would render on the processor, for hours"


def server_place(settings: Settings, gpus: Callable[[], Sequence[Gpu]]) -> str | Launch:
    """Return the server to use: COMFYUI_URL, else the checkout at COMFYUI_ROOT, else any server on the port."""
    if settings.comfyui_url or settings.comfyui_root is None:
        return settings.comfyui_base_url
    root = settings.comfyui_root
    return Launch(
        root=root,
        python=settings.comfyui_python or interpreter_of(root),
        env=child_environment(card=settings.card),
        work_dir=settings.scratch_dir / f"comfyui-{settings.comfyui_port}",
        port=settings.comfyui_port,
        model_roots=settings.model_dirs,
        cpu=not gpus(),
        preview_method="auto",
        # Without metadata (the graph, the request id), the same request gives the same bytes.
        arguments=("--disable-metadata", *settings.comfyui_args),
    )


def has_our_gpu(where: str | Launch, gpus: Callable[[], Sequence[Gpu]]) -> bool:
    """Say whether the server at *where* is on this machine and computes on its GPU."""
    return not where.cpu if isinstance(where, Launch) else _is_here(where) and bool(gpus())


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def lacks(launch: Launch, *, is_up: bool) -> tuple[str, ...]:
    """Return a line for what this machine lacks for the server of *launch*. A running server needs no program."""
    missing = f"{launch.root}/main.py is missing (COMFYUI_ROOT is ComfyUI's checkout)"
    has_program = is_up or (launch.root / "main.py").is_file()
    return (*(() if has_program else (missing,)), *((_NO_GPU,) if launch.cpu else ()))
