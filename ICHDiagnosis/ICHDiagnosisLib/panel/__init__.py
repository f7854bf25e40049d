"""The module's panel: the only Qt beside the module's main script."""
