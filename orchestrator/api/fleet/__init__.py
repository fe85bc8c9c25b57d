"""Door 1: /v1, the fleet's own API."""
