"""What the ICHDiagnosis module of 3D Slicer is made of.

==================  ==================================================================================================
``bundle/``         the bundle as a child process: found, started, followed, cancelled (standard library only)
``install/``        what the bundle needs in Slicer's Python: what is missing, who installs it, whether it works
``result/``         a result folder as plain dataclasses (standard library only)
``scene/``          a result as nodes of the scene, and a volume of the scene as the bundle's input
``panel/``          the panel: the only Qt beside the module's main script
``batch/``          many studies, one after the other
``reader_study/``   readers without and with the results, against the clock (standard library and numpy)
==================  ==================================================================================================

Beside them: ``logic`` (one analysis), ``analysis`` (what it reports), ``parameters`` (saved with the scene),
``history``, ``sample_data`` and ``messages`` (every text that users read, by code; standard library only).

Names follow one rule: Slicer's camelCase for what overrides or mirrors an interface of Slicer, Qt or MRML (``setup``,
``onSceneEndClose``, ``getParameterNode``, fields of the parameter node, names of widgets), snake_case for all else.
"""
