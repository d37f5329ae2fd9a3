"""An older generate.py, which knows only the first tasks and none of the later flags."""

import argparse

parser = argparse.ArgumentParser()
parser.add_argument("--task", choices=["t2v-14B", "t2v-1.3B", "i2v-14B"])
parser.parse_known_args()
