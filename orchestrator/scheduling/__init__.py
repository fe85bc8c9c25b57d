"""Which run goes to which worker, decided in seconds. Pure; README.md shows the flow."""
