"""The rules by which free-form narratives are audited, one module for each kind."""
