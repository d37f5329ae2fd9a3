"""A generate.py whose card is too small."""

from upstream import load, start

OutOfMemoryError = type("OutOfMemoryError", (RuntimeError,), {"__module__": "torch"})

load(start())
raise OutOfMemoryError(
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 31.37 GiB of which 1.12 GiB is free."
)
