"""What the bundle needs in Slicer's Python: what is missing, who installs it, and whether the installation works."""
