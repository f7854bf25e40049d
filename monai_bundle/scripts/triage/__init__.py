"""An archive worked through on many cores, GPUs and machines: one study, one task, and nothing read twice."""
