"""Pins: what a ComfyUI is made of, to the byte: written down (lock), made (provision), and held against what runs."""
