"""Labels on disk to MONAI datalists, split by patient."""
