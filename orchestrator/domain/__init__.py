"""What the fleet talks about: job, run, worker, asset. Pure: frozen types, and one transition table each."""
