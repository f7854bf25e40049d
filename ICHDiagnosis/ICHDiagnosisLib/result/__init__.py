"""A result folder as plain dataclasses, and as a line of a table. Standard library only."""
