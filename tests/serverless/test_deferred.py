"""What the SDK imports for its command line alone stays out of a worker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HANDLER = Path(__file__).parents[2] / "handler.py"

#: Imports what handler.py imports, without serving.
IMPORTED = f"import runpy, sys; runpy.run_path({str(HANDLER)!r}, run_name='imported')"


def told(code: str) -> str:
    python, environment = [sys.executable, "-c", code], {**os.environ, "PYTHONPATH": str(HANDLER.parent / "src")}
    process = subprocess.run(python, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


def test_the_sdks_ssh_is_not_loaded_until_somebody_uses_it() -> None:
    code = f"""{IMPORTED}
import runpod.cli.groups.ssh.functions as ssh
loaded = "paramiko.transport" in sys.modules
print(loaded, ssh.paramiko.SSHClient.__name__, "paramiko.transport" in sys.modules)"""

    assert "False SSHClient True" == told(code)


def test_a_part_of_a_deferred_module_is_imported_and_walks_over_all_modules_load_nothing() -> None:
    code = """import sys
from wanworker.serverless.deferred import defer
defer("xml", "wsgiref")
[hasattr(module, "__file__") for module in list(sys.modules.values())]
untouched = type(sys.modules["wsgiref"]).__name__
import wsgiref.util
from xml import sax
print(untouched, wsgiref.util.__name__, sax.__name__, type(sys.modules["wsgiref"]).__name__)"""

    assert "_Deferred wsgiref.util xml.sax module" == told(code)


def test_modules_that_are_there_or_missing_are_left_alone() -> None:
    code = """import json, sys
from wanworker.serverless.deferred import defer
defer("json", "no_such_module_anywhere")
print(sys.modules["json"] is json, type(json).__name__, "no_such_module_anywhere" in sys.modules)"""

    assert "True module False" == told(code)


def test_the_sdk_is_imported_without_a_second_python_and_leaves_no_stand_in() -> None:
    code = f"""import subprocess, sys
started = []
init = subprocess.Popen.__init__
def noting(self, args, *rest, **options):
    started.append(args)
    init(self, args, *rest, **options)
subprocess.Popen.__init__ = noting
{IMPORTED}
from runpod.serverless.utils import rp_debugger
import cpuinfo
print([args for args in started if "cpuinfo" in str(args)], bool(rp_debugger.PROCESSOR), hasattr(cpuinfo, "CPUID"))"""

    assert "[] True True" == told(code)
