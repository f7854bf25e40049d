"""The time and memory that a reading takes, beside the reference implementation of the same answer and maps."""
