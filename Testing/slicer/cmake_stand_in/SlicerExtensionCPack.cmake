# Slicer packs what was installed; there is nothing to pack here.
