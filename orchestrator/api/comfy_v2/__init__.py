"""The Comfy API v2, at /api/v2: what Comfy's own SDKs speak, in front of the whole fleet."""
