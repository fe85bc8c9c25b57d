"""What is known about a graph without asking anybody: its shape, its faults, its needs, and where params go. Pure.

The way through it: `parse` a document into a graph, `validate` it against a `catalog` (what ComfyUI's /object_info
said), `resolve` the bindings of a workflow once and `patch` params in for each job, read off what it `needs` of a
worker, and `stage` it for one run. `draft` writes a first registration for an exported graph.

A graph is a plain mapping in ComfyUI's API format and is never changed: whoever patches or stages gets a new one that
shares the nodes that stayed the same.
"""
