"""Metrics: pure functions of predictions, labels and maps; no torch, no files but the predictions' own."""
