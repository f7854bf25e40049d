"""ICHDiagnosis: reads a head CT for intracranial haemorrhage and shows the evidence. Research use only."""
