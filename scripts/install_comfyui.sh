#!/usr/bin/env bash
# Install the ComfyUI that this worker is tested with: scripts/install_comfyui.sh
# Goes to $COMFYUI_ROOT (default /workspace/ComfyUI), with a .venv of its own; needs git, Python 3.10 or newer and a
# network. Does nothing, at once, when all is there. $PYTHON names the interpreter; a torch that it has is used.
set -euo pipefail

# The commit, not a tag: it names every byte, a tag can be moved. It is on master and says 0.33.0 of itself. The contract
# tests and the comparison with its own page ran on it (docs/comfyui.md). Another: COMFYUI_COMMIT, whole (40 digits).
commit=${COMFYUI_COMMIT:-783545f689a0af730065994b46b382ae24844c99}
repository=${COMFYUI_REPOSITORY:-https://github.com/Comfy-Org/ComfyUI.git}
root=${COMFYUI_ROOT:-/workspace/ComfyUI}
base=${PYTHON:-python3}
python=$root/.venv/bin/python
stamp=$root/.venv/.installed

say() { printf '%s\n' "$*" >&2; }
fail() { say "install_comfyui: $*"; exit 1; }
in_root() { git -c safe.directory='*' -C "$root" "$@"; }
has_commit() { [ -d "$root/.git" ] && [ "$(in_root rev-parse HEAD 2>/dev/null)" = "$commit" ]; }
# What the stamp says when all is well: the requirements in full, and which Python they were installed for.
wanted() { cat "$root/requirements.txt" && readlink -f "$python"; }
is_ready() { has_commit && [ -x "$python" ] && wanted | cmp -s - "$stamp"; }

check_out() {
  if [ ! -d "$root/.git" ] && [ -n "$(ls -A "$root" 2>/dev/null)" ]; then
    fail "$root is there, and is no git checkout. Move it away, or set COMFYUI_ROOT."
  fi
  if [ -d "$root/.git" ] && [ -n "$(in_root status --porcelain --untracked-files=no)" ]; then
    fail "$root has changes of yours: commit them or take them back, or set COMFYUI_ROOT."
  fi
  say "Fetching ComfyUI $commit into $root."
  mkdir -p "$root"
  in_root init -q
  in_root fetch -q --depth 1 "$repository" "$commit" || fail "the commit could not be fetched; git's reason stands above."
  in_root -c advice.detachedHead=false checkout -q --detach FETCH_HEAD
  has_commit || fail "asked for $commit, got $(in_root rev-parse HEAD)."
}

make_venv() {
  "$base" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
    fail "Python 3.10 or newer is needed; found $("$base" --version 2>&1 || true). Name one: PYTHON=..."
  "$base" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$base cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv"
  say "Making a virtual environment in $root/.venv."
  rm -rf "$root/.venv"
  "$base" -m venv --system-site-packages "$root/.venv"
}

# A torch that is there matches this machine's driver: it is kept, and what goes with it has to match it.
constraints() {
  "$python" - <<'END'
from importlib import metadata
for name in ("torch", "torchvision", "torchaudio"):
    try:
        print(f"{name}=={metadata.version(name)}")
    except metadata.PackageNotFoundError:
        pass
END
}

install() {
  kept=$(mktemp)
  trap 'rm -f "$kept"' EXIT
  constraints > "$kept"
  say "Installing its requirements; the first time this takes some minutes."
  # ComfyUI imports requests, which its requirements leave to others to bring.
  PIP_ROOT_USER_ACTION=ignore "$python" -m pip install --disable-pip-version-check \
    -r "$root/requirements.txt" requests -c "$kept" >&2 || fail "pip failed; its reason stands above."
}

case "$#:${1-}" in
  0:*) ;;
  1:-h | 1:--help) sed -n '2,4s/^# //p' "$0"; exit ;;
  *) fail "takes no arguments; set COMFYUI_ROOT for another place." ;;
esac
[[ $commit =~ ^[0-9a-f]{40}$ ]] || fail "COMFYUI_COMMIT is 40 hexadecimal digits; got $commit."
is_ready && exit
command -v git >/dev/null || fail "git is needed."
has_commit || check_out
[ -f "$root/main.py" ] || fail "there is no main.py in $root."
"$python" -m pip --version >/dev/null 2>&1 || make_venv
install
wanted > "$stamp"
say "ComfyUI is in $root. The worker starts it when COMFYUI_ROOT=$root is set."
