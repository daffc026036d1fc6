"""One file for each operating system, all with the same functions."""
