"""What the ICHDiagnosis module of 3D Slicer is made of; each file says in its first line what it knows."""
