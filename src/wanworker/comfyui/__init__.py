"""
A client library for a ComfyUI server; it knows nothing of what the graphs make.

`ComfyClient` has a method a route, `run` queues a graph and sees it end, `check` says beforehand what the server would
refuse, `RunProgress` folds events into one fraction. Import the modules for the rest.
"""

from wanworker.comfyui.client import ComfyClient
from wanworker.comfyui.preflight import check
from wanworker.comfyui.progress import RunProgress
from wanworker.comfyui.watch import Finished, Limits, run

__all__ = ["ComfyClient", "Finished", "Limits", "RunProgress", "check", "run"]
