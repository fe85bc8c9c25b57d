"""The supervisor: one ComfyUI process a device, started, watched and replaced, so that nobody does it by hand."""
