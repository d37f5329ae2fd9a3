"""
Talk to a ComfyUI server. This library does not know what the graphs make.

`ComfyClient` has one method for each route, `run` queues a graph and waits for its end, `check` finds in advance what
the server would refuse, and `RunProgress` folds events into one fraction. Import the modules for the rest.
"""

from wanworker.comfyui.client.http import ComfyClient
from wanworker.comfyui.graph.preflight import check
from wanworker.comfyui.run.monitor import Finished, Limits, run_prompt
from wanworker.comfyui.run.progress import RunProgress

__all__ = ["ComfyClient", "Finished", "Limits", "RunProgress", "check", "run_prompt"]
