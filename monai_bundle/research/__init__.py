"""Research: metrics, cross-validation, the evidence report, export parity, benchmarks. Imports ``scripts`` alone."""
