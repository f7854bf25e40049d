"""The evidence report: from trainings on held-out patients to the pages that state how good the network is."""
