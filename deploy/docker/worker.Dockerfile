# An agent with the ComfyUIs of one GPU machine. From the root of the repository:
#   docker build -f deploy/docker/worker.Dockerfile -t comfyfleet-worker .
# ComfyUI is what a lock says (comfyfleet lock), made at the container's start when COMFYUI_LOCK names one, into the
# volume at /srv/comfyui; or here: --build-arg LOCK=ops/prod.lock.yaml. Its models are better left to the start, and its
# Python has to be the 3.12 of this base. PyTorch brings CUDA's libraries, the host's container toolkit the driver.
FROM nvidia/cuda:12.8.1-base-ubuntu24.04
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates ffmpeg git libgl1 libglib2.0-0t64 python3 python3-venv tini \
 && rm -rf /var/lib/apt/lists/*
# A checkout, installed as such: comfyfleet puts comfy_nodes beside it into every ComfyUI that it starts.
WORKDIR /opt/comfyfleet/src
COPY pyproject.toml README.md LICENSE ./
COPY orchestrator orchestrator
COPY comfy_nodes comfy_nodes
COPY ops ops
RUN python3 -m venv /opt/comfyfleet && /opt/comfyfleet/bin/pip install --no-cache-dir --editable . \
 && useradd --system --uid 10001 --home-dir /var/lib/comfyfleet --create-home comfyfleet \
 && install -d -o comfyfleet -g comfyfleet /srv/comfyui
COPY deploy/docker/worker-entrypoint.sh /usr/local/bin/worker-entrypoint
ENV PATH=/opt/comfyfleet/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    COMFYFLEET_DATA_DIR=/var/lib/comfyfleet \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video
USER 10001
WORKDIR /var/lib/comfyfleet
ARG LOCK=
RUN if [ -n "$LOCK" ]; then comfyfleet provision --lock "/opt/comfyfleet/src/$LOCK" --to /srv/comfyui; fi
# tini: a ComfyUI's own children become ours when it is killed, and have to be buried.
ENTRYPOINT ["tini", "--", "worker-entrypoint"]
CMD ["comfyfleet", "agent"]
