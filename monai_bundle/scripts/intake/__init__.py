"""From files on disk to a :class:`~scripts.intake.study.CTStudy` in Hounsfield units, or a named refusal."""
