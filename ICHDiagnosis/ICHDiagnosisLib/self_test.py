"""The module's own test in the real application, run by its test driver or by "Reload and Test"."""

from __future__ import annotations

import sys
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from .analysis import AnalysisUpdate
from .bundle.exit_status import Ending
from .logic import settings_of
from .messages import message

ModuleLogic = Any
"""``ICHDiagnosisLogic`` of the module's main script, which imports this file."""


class ICHDiagnosisTest(ScriptedLoadableModuleTest):
    """The main steps in the real application: phantom, analysis, result on the scene, second run, cancel."""

    def setUp(self) -> None:
        """Begin with an empty scene and a folder; neither the folder nor what came on the scene outlives the test."""
        slicer.mrmlScene.Clear()
        self.addCleanup(slicer.mrmlScene.Clear)
        folder = tempfile.TemporaryDirectory(prefix="ich-diagnosis-test-")
        self.addCleanup(folder.cleanup)
        self.output_folder = Path(folder.name)

    def runTest(self) -> None:  # noqa: N802 - the name that unittest calls
        """Run all steps; called by the application itself, without unittest's setting up and cleaning up."""
        for test in (self.test_a_phantom_is_read_and_shown, self.test_cancel_leaves_no_result):
            try:
                self.setUp()
                test()
            except unittest.SkipTest as reason:
                self.delayDisplay(str(reason))
            finally:
                self.doCleanups()

    def test_a_phantom_is_read_and_shown(self) -> None:
        """From the phantom to segments on the scene, in the way of a user who presses Apply."""
        logic = self._started_logic()
        ending = None
        while ending is None:
            ending = self._poll(logic).ending
        self.delayDisplay(ending.outcome.message)
        self.assertTrue(ending.outcome.has_results, ending.outcome)
        result, shown = ending.result, ending.shown
        assert result is not None
        assert result.folder is not None
        assert shown is not None
        self.assertTrue(result.folder.is_dir())
        self.assertEqual(len(shown.attribution_maps), len(result.findings))
        self.assertTrue(ending.log_file.is_file())

    def test_cancel_leaves_no_result(self) -> None:
        """Cancel as soon as the bundle works."""
        logic = self._started_logic()
        update = self._poll(logic)
        while update.fraction is None and update.ending is None:
            update = self._poll(logic)
        logic.analysis.cancel()
        while update.ending is None:
            update = self._poll(logic)
        self.assertIs(update.ending.outcome.ending, Ending.CANCELLED)
        self.assertIsNone(update.ending.shown)

    def _started_logic(self) -> ModuleLogic:
        logic = sys.modules["ICHDiagnosis"].ICHDiagnosisLogic()
        self.addCleanup(logic.end_worker)
        self.addCleanup(logic.close)
        if logic.missing_packages():
            self.skipTest(message("input.packages_missing"))
        # Beside the user's settings: neither the folder for results nor the history is touched.
        logic.history.enabled = False
        volume = logic.load_phantom({"pixels": "128", "slices": "24"})
        logic.analysis.start(volume, settings_of(logic.getParameterNode(), self.output_folder))
        return logic

    def _poll(self, logic: ModuleLogic) -> AnalysisUpdate:
        slicer.app.processEvents()
        time.sleep(0.05)
        return logic.analysis.poll()
