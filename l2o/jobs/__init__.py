"""What a job does: its record and history, resuming, locks, failures, progress, provenance."""

RECORD = "run.json"
"""What every job that succeeded leaves in its folder."""
