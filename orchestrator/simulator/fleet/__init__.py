"""A fleet in virtual time: the scheduler of production against what others do, over a trace or made-up days.

trace      reads a trace              generated  days that are made up, with LoRAs and ControlNets
workload   lays days over each other until the wanted load is reached; library: the model files
hardware   machines as they truly are, and when they fail: the two worlds
tiers      what a machine holds: VRAM, RAM, disk; machine: what it does, and what its agent tells
world      time: arrivals, loading, execution, failures
policies/  what decides: comfyfleet's own scheduler, baselines, the reference
figures    what came of it, in numbers; plot: in a picture
"""
