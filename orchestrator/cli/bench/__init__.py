"""`comfyfleet bench`: the figures that the fleet is held to, measured on this machine, each beside its target.

command    the command: runs the measurements, prints the table
figures    what a figure is, and percentiles. Pure
fleet      a whole fleet in processes of its own: Redis, `up`, a ComfyUI; and what CPU each has used
load       the load generator: a process that posts as fast as it can and costs little itself
worker     the simulated ComfyUI of the bench: it keeps the times of its runs where nobody deletes them
measures   how fast it is: one function a figure
fan_out    how soon a thousand watchers hear of what happens
peers      the Comfy API v2 beside the official proxy's: clients sends, yardstick serves
quality    whether the scores of the node pack mean anything: it measures itself, and this prints it
recovery   how soon a run goes on elsewhere when something dies or hangs: figures of promises, and not of speed
"""
