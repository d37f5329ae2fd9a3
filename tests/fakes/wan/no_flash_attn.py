"""A generate.py without flash-attn: an assertion without words at the first step, after the whole load."""

from upstream import load, sample, start

FLASH_ATTN_2_AVAILABLE = False


def attend(step: int) -> None:
    """Fail where upstream's attention does."""
    assert FLASH_ATTN_2_AVAILABLE


args = start()
load(args)
sample(args, attend)
