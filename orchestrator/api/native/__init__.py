"""ComfyUI's own API, at the root and under /api: its clients see one very large ComfyUI. See README.md beside this."""
