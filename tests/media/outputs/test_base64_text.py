import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wanworker.media.outputs.base64_text import base64_text, encoded_chars, largest_file

MEASURE = """
import sys
from pathlib import Path
from wanworker.media.outputs.base64_text import base64_text

def kib(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

before = kib("VmRSS")
text = base64_text(Path(sys.argv[1]), prefix="data:video/mp4;base64,")
print(len(text), (kib("VmHWM") - before) * 1024)
"""


@pytest.mark.parametrize("size", [0, 1, 2, 3, 49_151, 49_152, 49_153, 150_000])
def test_the_text_is_the_files_base64_after_the_prefix(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    text = base64_text(path, prefix="data:video/mp4;base64,")

    assert "data:video/mp4;base64," + base64.b64encode(data).decode() == text
    assert len(text) == encoded_chars(size, prefix="data:video/mp4;base64,")


@pytest.mark.parametrize("chars", [0, 5, 22, 26, 27, 1000, 1001, 1002, 1003, 1004])
def test_the_largest_file_just_fits(chars: int) -> None:
    prefix = "data:video/mp4;base64,"
    size = largest_file(chars, prefix=prefix)

    assert size == 0 or encoded_chars(size, prefix=prefix) <= chars
    assert encoded_chars(size + 1, prefix=prefix) > chars


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux's /proc")
def test_a_20_mb_file_adds_its_text_and_not_itself_too(tmp_path: Path) -> None:
    size = 20_000_000
    path = tmp_path / "a.mp4"
    path.write_bytes(os.urandom(size))
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, check=True, env=environment)
    chars, added = (int(word) for word in run.stdout.split())

    assert encoded_chars(size, prefix="data:video/mp4;base64,") == chars
    # The text has four thirds of the size. With the file, or a second text, it would be more than twice the size.
    assert size * 4 / 3 * 0.9 < added <= 1.5 * size
