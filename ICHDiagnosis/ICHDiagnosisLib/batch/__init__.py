"""Many studies, one after the other. No Qt."""
