"""What a job does: its record and history, resuming, locks, failures, progress, provenance."""
