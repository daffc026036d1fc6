"""The connections of this process: their states, the map of the live ones, the hooks."""
