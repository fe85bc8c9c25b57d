"""Quality: which of a job's candidates are good enough, and what to do when too few are. Pure."""
