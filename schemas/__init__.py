"""What the data is: table schemas, narrative, taxonomy, knowledge cards and configuration. Imports nothing of ours."""
