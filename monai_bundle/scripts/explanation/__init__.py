"""From the output of one pass to maps on the original voxels: Grad-CAM, Grad-CAM++, attention."""
