"""Import the SDK without what only other users of it need. A worker starts earlier and is smaller."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

#: What the SDK imports for its command line alone: SSH to pods, with cryptography of its own. It takes 17 MB.
_COMMAND_LINE = "paramiko"

#: While the SDK is imported, it asks this module for the name of the processor, and that starts a second Python.
_PROCESSOR = "cpuinfo"

#: What the SDK reads from the environment while it is imported. At DEBUG it logs prompts and answers. Its own checks
#: load torch; ours are in serverless/fitness.
SDK_SWITCHES = {
    "RUNPOD_LOG_LEVEL": "INFO",
    "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
    "RUNPOD_SKIP_GPU_CHECK": "true",
}


@contextmanager
def light_sdk() -> Iterator[None]:
    """Import `runpod` within this, before anything else imports it."""
    defer(_COMMAND_LINE)
    had = sys.modules.get(_PROCESSOR)
    sys.modules[_PROCESSOR] = _CpuInfo(_PROCESSOR)
    looks = gc.isenabled()
    gc.disable()  # an import makes no garbage, and looking for it takes a tenth of the time
    try:
        yield
    finally:
        del sys.modules[_PROCESSOR]
        if had is not None:
            sys.modules[_PROCESSOR] = had
        if looks:
            gc.enable()
            gc.freeze()  # what was imported stays: no job has to look through it again


def defer(*names: str) -> None:
    """
    Let `import NAME` give a stand-in for a module, which is loaded at its first use.

    A name that is imported already, or not installed, is left alone. Call this before what imports it.
    """
    for name in names:
        if name not in sys.modules and importlib.util.find_spec(name) is not None:
            sys.modules[name] = _Deferred(name)


class _Deferred(ModuleType):
    """
    Stand for a module until an attribute of it is used, and give those of the real one from then on.

    The standard LazyLoader does not serve: its module is loaded as soon as a second `import` names it.
    """

    def __getattr__(self, name: str) -> Any:
        # Whatever walks through all modules asks for `__file__` and the like. `import NAME.PART` asks for the path.
        if name.startswith("__") and name != "__path__":
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


class _CpuInfo(ModuleType):
    """Stand for py-cpuinfo: the one name that the SDK wants is in a file of the system."""

    @staticmethod
    def get_cpu_info() -> dict[str, str]:
        """Return the processor's name, or nothing where the system does not tell it; the SDK takes either."""
        try:
            lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return {}
        names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        return {"brand_raw": name} if (name := next(names, "")) else {}
