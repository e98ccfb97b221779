"""Whether the data is good enough: deterministic narrative checks and release gates."""
