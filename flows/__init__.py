"""The plan, its execution (plain or under Prefect) and the command line."""
