"""The networks: VGG16 features, attention, DrCT1 and DrCT2."""
