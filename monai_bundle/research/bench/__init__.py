"""The time and memory that a reading takes, beside the plain way to get the same answer and maps."""
