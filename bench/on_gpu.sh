#!/usr/bin/env bash
# What a machine without a GPU cannot show, in at most ten minutes, as one JSON file: see on_gpu.py.
#
#   bench/on_gpu.sh --out figures.json [--wheels FOLDER] [--weights FOLDER]
#   bench/on_gpu.sh --small --out figures.json     the same parts with small models, on any machine
#
# PYTHON names the interpreter with torch; python3 if it is not set. The packages that it lacks are installed from
# --wheels, a folder of wheel files, into a folder of their own: diffusers, pydantic, pydantic-core, annotated-types,
# typing-inspection, importlib-metadata, ftfy, wcwidth, and imageio-ffmpeg where there is no ffmpeg. No network is used.
set -euo pipefail
exec "${PYTHON:-python3}" "$(dirname "$0")/on_gpu.py" "$@"
