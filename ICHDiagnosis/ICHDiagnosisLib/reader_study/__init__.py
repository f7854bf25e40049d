"""The reader study: how readers fare without and with the results. No Qt, no scene; the standard library and numpy."""
