"""
A client library for a ComfyUI server; it knows nothing of what the graphs make.

`ComfyClient` has a method a route, `run` queues a graph and sees it end, `check` says beforehand what the server would
refuse, `RunProgress` folds events into one fraction. Import the modules for the rest.
"""

from wanworker.comfyui.client.http import ComfyClient
from wanworker.comfyui.graph.preflight import check
from wanworker.comfyui.run.monitor import Finished, Limits, run_prompt
from wanworker.comfyui.run.progress import RunProgress

__all__ = ["ComfyClient", "Finished", "Limits", "RunProgress", "check", "run_prompt"]
