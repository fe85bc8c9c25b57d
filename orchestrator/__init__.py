"""comfyfleet: one endpoint in front of any number of ComfyUIs."""

__version__ = "0.1.0"
