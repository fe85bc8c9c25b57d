"""The only shared state, and the truth: Redis behind one port (port/). Every transition is one named Lua file."""
