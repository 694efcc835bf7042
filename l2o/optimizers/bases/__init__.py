"""What several learned optimizers inherit."""
