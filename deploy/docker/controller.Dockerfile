# A controller: HTTP, and dispatching while it leads. From the root of the repository:
#   docker build -f deploy/docker/controller.Dockerfile -t comfyfleet-controller .
FROM python:3.12-slim-bookworm AS built
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY orchestrator orchestrator
RUN python -m venv /opt/comfyfleet && /opt/comfyfleet/bin/pip install --no-cache-dir .

FROM python:3.12-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /var/lib/comfyfleet --create-home comfyfleet
COPY --from=built /opt/comfyfleet /opt/comfyfleet
COPY workflows /etc/comfyfleet/workflows
COPY params /etc/comfyfleet/params
COPY ops/healthcheck.py /opt/comfyfleet/healthcheck.py
ENV PATH=/opt/comfyfleet/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    COMFYFLEET_LISTEN=0.0.0.0:8200 \
    COMFYFLEET_DATA_DIR=/var/lib/comfyfleet \
    COMFYFLEET_WORKFLOWS=/etc/comfyfleet/workflows
USER 10001
WORKDIR /var/lib/comfyfleet
EXPOSE 8200
HEALTHCHECK --interval=10s --timeout=6s --start-period=20s \
  CMD ["python", "/opt/comfyfleet/healthcheck.py", "http://127.0.0.1:8200"]
# All else is fleet.yaml in the working directory, or COMFYFLEET_REDIS__URL and its like.
CMD ["comfyfleet", "controller"]
