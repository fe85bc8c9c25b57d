"""The HTTP doors of a controller: each turns requests into the verbs of the packages below, and answers."""
