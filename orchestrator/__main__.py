"""`python -m orchestrator` is `comfyfleet`."""

from orchestrator.cli.main import app

if __name__ == "__main__":
    app(prog_name="comfyfleet")
