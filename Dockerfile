# The image of the worker: build with `docker build --platform linux/amd64 -t wanworker .`
#
# One torch, which everything shares, and on it three environments whose pins exclude one another: Wan2.2's own
# (transformers 4, numpy 1), ComfyUI's and the worker's. What changes least comes first: a change of the code rebuilds
# the last layers only, a few megabytes. No weights are inside: they lie on the volume (docs/deploy.md).
#
# torch 2.13.0 is built for CUDA 12.6, 13.0 and 13.2, and 12.6 lacks the RTX 5090 (sm_120): RELEASE.md of
# pytorch/pytorch, "PyTorch CUDA Support Matrix". 13.0 is what package indexes serve by default. It wants a driver of
# the 580 series: endpoints must be limited to hosts with CUDA 13.0 or newer. The base image refuses to start on others.
#
# "base", not "cudnn-runtime": torch's wheels bring the CUDA libraries and cuDNN 9.20 themselves, and a second copy in
# the base would be gigabytes that every cold host pulls and nothing loads.
ARG CUDA_IMAGE=nvidia/cuda:13.0.2-base-ubuntu24.04

# --- The door: the REST server alone, whose jobs all go to endpoints of RunPod (docs/scale.md). It has no torch and
# needs no GPU: `docker build --platform linux/amd64 --target door -t wanworker-door .`
FROM ubuntu:24.04 AS door

SHELL ["/bin/bash", "-e", "-u", "-o", "pipefail", "-c"]

ARG DEBIAN_FRONTEND=noninteractive
ARG PIP_DISABLE_PIP_VERSION_CHECK=1
ARG PIP_NO_CACHE_DIR=1

# Not pinned one by one (DL3008), as below. ffmpeg comes as a wheel, imageio-ffmpeg. A new volume takes its owner from
# the folder of the image: without `outputs` it would be root's, and the server could write nothing.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 python3-venv tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home --shell /bin/bash worker \
    && install -d -o 10001 /home/worker/outputs

COPY requirements-door.lock /opt/build/
RUN python3 -m venv /app/.venv \
    && /app/.venv/bin/pip install --no-deps --require-hashes --requirement /opt/build/requirements-door.lock \
    && /app/.venv/bin/pip check

ENV PATH=/app/.venv/bin:${PATH} \
    LANG=C.UTF-8 \
    PYTHONPATH=/app/src \
    PYTHONUNBUFFERED=1 \
    REST_HOST=0.0.0.0 \
    WAN_ENGINE=runpod \
    WAN_MINI=off

COPY src /app/src
RUN python -m compileall -q /app/src

# Videos and job records go to WAN_OUT_DIR, by default `outputs` below this folder: mount a volume there.
USER 10001
WORKDIR /home/worker
EXPOSE 8189
ENTRYPOINT ["tini", "--"]
CMD ["python", "-m", "wanworker.rest"]

# --- The worker.
FROM ${CUDA_IMAGE}

SHELL ["/bin/bash", "-e", "-u", "-o", "pipefail", "-c"]

ARG DEBIAN_FRONTEND=noninteractive
ARG PIP_DISABLE_PIP_VERSION_CHECK=1
ARG PIP_NO_CACHE_DIR=1
ARG PIP_ROOT_USER_ACTION=ignore

# gcc and Python's headers: triton builds its launchers when a kernel is first used. curl: the Hub's tests want it.
# Not pinned one by one (DL3008): Ubuntu's archive keeps only the newest build of each, so that a pin fails in a month.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        ca-certificates curl ffmpeg gcc git libc6-dev python3 python3-dev python3-pip python3-venv tini \
    && rm -rf /var/lib/apt/lists/*

# Nobody logs in as this one; scripts/start.sh becomes it before anything of ours runs.
RUN useradd --uid 10001 --create-home --shell /bin/bash worker

# --- torch, once: 5 GB. TORCH_INDEX names another index of the same versions, such as PyTorch's own for CUDA 13.2.
ARG TORCH_INDEX=
COPY docker/torch.txt /opt/build/
# PIP_NO_CACHE_DIR is set above (DL3042).
# hadolint ignore=DL3042
RUN PIP_BREAK_SYSTEM_PACKAGES=1 pip install ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} --requirement /opt/build/torch.txt \
    && python3 -c 'import torch, torchaudio, torchvision; assert "sm_120" in torch.cuda.get_arch_list(), torch.__version__'

# --- Wan2.2. sam2 is what its requirements_animate.txt pins; it is used as a checkout, because its set-up wants nvcc
# for one kernel that only replaced persons need (--replace_flag, which the worker does not pass).
ARG WAN_COMMIT=42bf4cfaa384bc21833865abc2f9e6c0e67233dc
ARG SAM2_COMMIT=0e78a118995e66bb27d78518c4bd9a3e95b4e266
RUN git init --quiet /opt/Wan2.2 \
    && git -C /opt/Wan2.2 fetch --quiet --depth 1 https://github.com/Wan-Video/Wan2.2.git "${WAN_COMMIT}" \
    && git -C /opt/Wan2.2 checkout --quiet --detach FETCH_HEAD \
    && rm -rf /opt/Wan2.2/.git
RUN git init --quiet /opt/sam2 \
    && git -C /opt/sam2 fetch --quiet --depth 1 https://github.com/facebookresearch/sam2.git "${SAM2_COMMIT}" \
    && git -C /opt/sam2 checkout --quiet --detach FETCH_HEAD \
    && rm -rf /opt/sam2/.git /opt/sam2/assets /opt/sam2/notebooks
COPY docker/wan.txt docker/wan.lock /opt/build/
RUN python3 -m venv --system-site-packages /opt/Wan2.2/.venv \
    && /opt/Wan2.2/.venv/bin/pip install --requirement /opt/build/wan.txt --constraint /opt/build/wan.lock \
    && /opt/Wan2.2/.venv/bin/pip check
# Our attention for Wan, and all that `import wan` imports: it cannot be imported itself, it asks for a GPU at once.
COPY docker/wan_path /opt/wan_path
RUN printf '%s\n' /opt/wan_path /opt/sam2 > /opt/Wan2.2/.venv/lib/python3.12/site-packages/wan_path.pth \
    && python3 -m compileall -q /opt/wan_path /opt/sam2/sam2 /opt/Wan2.2/generate.py /opt/Wan2.2/wan \
    && /opt/Wan2.2/.venv/bin/python -c 'import torch, torchvision, cv2, dashscope, decord, diffusers, easydict, einops, \
flash_attn, ftfy, imageio, librosa, peft, PIL, regex, tqdm, transformers, hydra, loguru, matplotlib, moviepy, omegaconf, \
onnxruntime, pandas, sam2, sentencepiece'

# --- ComfyUI, at the commit that scripts/install_comfyui.sh pins. It imports requests and does not ask for it.
COPY docker/comfyui.lock scripts/install_comfyui.sh /opt/build/
RUN COMFYUI_ROOT=/opt/ComfyUI PIP_CONSTRAINT=/opt/build/comfyui.lock /opt/build/install_comfyui.sh \
    && /opt/ComfyUI/.venv/bin/pip install --constraint /opt/build/comfyui.lock requests \
    && /opt/ComfyUI/.venv/bin/pip check
# It starts once, on the CPU, and ends; then it owns the folders that it writes in.
WORKDIR /opt/ComfyUI
RUN .venv/bin/python main.py --cpu --quick-test-for-ci --database-url sqlite:////tmp/comfyui.db \
    && rm -f /tmp/comfyui.db \
    && mkdir -p user temp \
    && chown -R worker:worker user temp input output models custom_nodes

# --- The worker: the lock that scripts/run installs, too. What docker/torch.txt has already is of the same version.
COPY requirements.lock /opt/build/
RUN python3 -m venv --system-site-packages /app/.venv \
    && /app/.venv/bin/pip install --no-deps --require-hashes --requirement /opt/build/requirements.lock \
    && /app/.venv/bin/pip check

ENV PATH=/app/scripts:/app/.venv/bin:${PATH} \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    RUNPOD_INIT_TIMEOUT=800 \
    RUNPOD_LOG_LEVEL=INFO \
    RUNPOD_SKIP_AUTO_SYSTEM_CHECKS=true \
    RUNPOD_SKIP_GPU_CHECK=true \
    WAN_HOME=/opt/Wan2.2 \
    WAN_PYTHON=/opt/Wan2.2/.venv/bin/python \
    COMFYUI_ROOT=/opt/ComfyUI \
    WAN_MINI=off

COPY workflows /app/workflows
COPY handler.py /app/
COPY scripts/start.sh scripts/wanworker /app/scripts/
COPY src /app/src
RUN python -m compileall -q /app/handler.py /app/src

# Without a volume, outputs and models go to the home of the user that serves.
WORKDIR /home/worker
EXPOSE 8189

# The user is root for as long as scripts/start.sh makes the volume's folders writable, then `worker`: a network volume
# belongs to root, and a user that may not write there could keep neither videos nor jobs. CMD, not ENTRYPOINT, holds
# the script, because the Hub's tests run CMD. tini passes signals and reaps what engines leave behind.
ENTRYPOINT ["tini", "--"]
CMD ["/app/scripts/start.sh"]
