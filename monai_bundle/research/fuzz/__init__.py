"""Mutated studies through the intake: what a hospital may send, and what no number may come from without a warning."""
