"""ComfyUI's HTTP routes, by what they are about. server.py serves each at /x and at /api/x."""
