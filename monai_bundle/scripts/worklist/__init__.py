"""Result folders as one worklist, the most urgent study first: a page, a table and a file that programs read."""
