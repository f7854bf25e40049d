"""What ``make archive-demo`` runs: an Orthanc and a node beside each other on this machine, and two made-up studies."""
