"""Evidence: from held-out predictions to the pages that state how good the network is."""
