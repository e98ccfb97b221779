"""Dermatologists' scores through Label Studio: its local server, the labelling screen, tasks, and what comes back."""
