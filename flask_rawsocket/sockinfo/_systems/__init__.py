"""One file for each operating system, with the same signatures in each."""
