"""A result as nodes of the scene, and a volume of the scene as the bundle's input. No Qt."""
