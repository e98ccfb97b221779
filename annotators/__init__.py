"""Who writes and judges narratives: teachers and DermEval."""
