"""Train the miniature: `scripts/train_mini/run all`. Every stage resumes; a stage that is done ends at once."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

import torch

from train_mini import vae
from train_mini.parallel import Ranks


def main() -> None:
    """Run the stages that the command line names, in their order."""
    parser = argparse.ArgumentParser(prog="train_mini", description=__doc__)
    parser.add_argument("stages", nargs="+", choices=("vae",))
    parser.add_argument("--work", type=Path, default=Path(".mini"), help="where checkpoints live (default .mini)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    ranks = Ranks()
    if "vae" in arguments.stages:
        vae.train(arguments.work, vae.Plan(seed=arguments.seed), ranks)
    ranks.close()


if __name__ == "__main__":
    main()
