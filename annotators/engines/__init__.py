"""Inference engines: who answers the prompts of teachers and judges, and what keeps their answers."""
