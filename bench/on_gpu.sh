#!/usr/bin/env bash
# What a machine without a GPU cannot show, in at most ten minutes, as one JSON file: see on_gpu.py.
#
#   bench/on_gpu.sh --out figures.json [--wheels FOLDER] [--weights FOLDER]
#   bench/on_gpu.sh --small --out figures.json     the same parts with small models, on any machine
#
# PYTHON names the interpreter with torch; python3 if it is not set. The packages that it lacks are installed from
# --wheels, a folder of wheel files, into a folder of their own. No network is used. A machine with a network makes the
# folder, for a Python of that version (3.12 if none is named); imageio-ffmpeg 0.6.0 is half the size of later ones:
#
#   bench/on_gpu.sh --make-wheels FOLDER [3.12]
set -euo pipefail
if [ "${1:-}" = --make-wheels ]; then
  platforms=()
  for name in manylinux_2_28 manylinux_2_17 manylinux2014 manylinux1; do platforms+=(--platform "${name}_x86_64"); done
  exec "${PYTHON:-python3}" -m pip download --quiet --no-deps --only-binary=:all: --implementation cp \
    --python-version "${3:-3.12}" "${platforms[@]}" --dest "${2:?the folder for the wheels}" \
    --constraint <(sed -n 's/^\([a-z0-9_-]*==[^ ;]*\).*/\1/p' "$(dirname "$0")/../requirements.lock" | grep -v ^imageio) \
    diffusers pydantic pydantic-core annotated-types typing-inspection importlib-metadata ftfy wcwidth \
    imageio-ffmpeg==0.6.0
fi
exec "${PYTHON:-python3}" "$(dirname "$0")/on_gpu.py" "$@"
