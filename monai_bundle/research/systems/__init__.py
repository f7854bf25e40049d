"""Published systems, each trained, measured and installed by one command."""
