"""3D Slicer module: intracranial haemorrhage on a head CT, with the evidence. The work is done in ICHDiagnosisLib."""

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import qt
import slicer
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from ICHDiagnosisLib.analysis import AnalysisUpdate
from ICHDiagnosisLib.batch.batch import Batch
from ICHDiagnosisLib.batch.studies import BatchStudy
from ICHDiagnosisLib.bundle.command import BundleMissingError
from ICHDiagnosisLib.bundle.exit_status import Ending
from ICHDiagnosisLib.bundle.location import find_bundle
from ICHDiagnosisLib.bundle.process import BundleProcess
from ICHDiagnosisLib.bundle.run import BundleRun
from ICHDiagnosisLib.history import History
from ICHDiagnosisLib.install.installers import python_executable
from ICHDiagnosisLib.install.requirements import MissingPackage, find_missing, read_requirements
from ICHDiagnosisLib.logic import AnalysisLogic, record_analysis, settings_of
from ICHDiagnosisLib.messages import message
from ICHDiagnosisLib.parameters import NOT_CHOSEN, Parameters, rename_earlier_parameters
from ICHDiagnosisLib.sample_data import load_phantom, phantom_command, register_sample_data

if TYPE_CHECKING:
    from ICHDiagnosisLib.panel.panel import Panel

KEEP_HISTORY_SETTING = "ICHDiagnosis/KeepHistory"


class ICHDiagnosis(ScriptedLoadableModule):
    """What the application shows of the module before it is opened."""

    def __init__(self, parent: object) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = message("module.title")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Neuroimaging")]
        self.parent.dependencies = []
        self.parent.contributors = ["ICHDiagnosis developers"]
        self.parent.helpText = message("module.help")
        self.parent.acknowledgementText = message("module.acknowledgement")
        slicer.app.startupCompleted.connect(self.onStartupCompleted)

    def onStartupCompleted(self) -> None:
        """Offer the sample data; nothing else happens before the module is opened."""
        register_sample_data(make_phantom, Path(self.resourcePath("Icons/ICHDiagnosis.png")))


def make_phantom(_source: object = None) -> slicer.vtkMRMLScalarVolumeNode:
    """Make a phantom with haemorrhage for the Sample Data module, and load it."""
    with slicer.util.tryWithErrorDisplay(message("sample.failed"), waitCursor=True):
        return ICHDiagnosisLogic().load_phantom()


class ICHDiagnosisLogic(ScriptedLoadableModuleLogic):
    """Puts the parts together: analysis, batch, history and sample data around one child process.

    Attributes
    ----------
    bundle_root : Path
        Folder of the bundle.
    history : History
        Past analyses.
    analysis : AnalysisLogic
        One volume at a time.
    batch : Batch
        Many studies; never beside an analysis.

    Raises
    ------
    BundleMissingError
        If the bundle is not where the extension puts it.
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.bundle_root = find_bundle(Path(__file__))
        self.history = History(Path(slicer.app.slicerUserSettingsFilePath).parent)
        run = BundleRun(BundleProcess(slicer.util.startupEnvironment()), python_executable(), self.bundle_root)
        self.analysis = AnalysisLogic(run, self.missing_packages, self.history, getattr(slicer, "dicomDatabase", None))
        self.batch = Batch(
            run, self.missing_packages, record=lambda result, name: record_analysis(self.history, result, name)
        )

    def getParameterNode(self) -> Parameters:
        """Return the parameters of the scene, with the user's settings where the scene has none."""
        node = super().getParameterNode()
        is_new = not node.GetParameterCount()
        rename_earlier_parameters(node)
        parameters = Parameters(node)  # type: ignore[call-arg] # its decorator makes the constructor
        if is_new:
            keep = slicer.util.settingsValue(KEEP_HISTORY_SETTING, True, converter=slicer.util.toBool)
            parameters.keepHistory = keep
        if parameters.outputFolder == NOT_CHOSEN:
            documents = qt.QStandardPaths.writableLocation(qt.QStandardPaths.DocumentsLocation)
            parameters.outputFolder = Path(documents) / "ICHDiagnosis"
        return parameters

    def missing_packages(self) -> tuple[MissingPackage, ...]:
        """Return the Python packages that the bundle needs and that are not there."""
        return find_missing(read_requirements())

    def start_analysis(self) -> None:
        """Start an analysis with the parameters of the scene; errors as :meth:`AnalysisLogic.start`."""
        parameters = self.getParameterNode()
        self._remember_history_setting(parameters)
        self.analysis.start(parameters.inputVolume, settings_of(parameters))

    def start_batch(self, studies: "tuple[BatchStudy, ...]") -> None:
        """Start a batch with the parameters of the scene; errors as :meth:`Batch.start`."""
        parameters = self.getParameterNode()
        self._remember_history_setting(parameters)
        self.batch.start(studies, settings_of(parameters))

    def load_phantom(self, options: "dict[str, str] | None" = None) -> slicer.vtkMRMLScalarVolumeNode:
        """Make a phantom with haemorrhage and load it; errors as :func:`load_phantom` of the sample data."""
        runner = BundleProcess(slicer.util.startupEnvironment(), phantom_command)
        return load_phantom(runner, python_executable(), self.bundle_root, slicer.app.processEvents, options)

    def close(self) -> None:
        """End whatever runs, and wait for that."""
        self.analysis.close()
        self.batch.close()

    def _remember_history_setting(self, parameters: Parameters) -> None:
        self.history.enabled = parameters.keepHistory
        qt.QSettings().setValue(KEEP_HISTORY_SETTING, parameters.keepHistory)


class ICHDiagnosisWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Holds the panel and tells it when the module is opened or left and when the scene is closed."""

    def __init__(self, parent: "qt.QWidget | None" = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: ICHDiagnosisLogic | None = None
        self.panel: Panel | None = None
        self._entered = False

    def setup(self) -> None:
        """Build the panel; without the bundle, state that instead."""
        ScriptedLoadableModuleWidget.setup(self)
        try:
            self.logic = ICHDiagnosisLogic()
        except BundleMissingError as error:
            label = qt.QLabel(str(error))
            label.wordWrap = True
            self.layout.addWidget(label)
            return
        from ICHDiagnosisLib.panel.panel import Panel  # noqa: PLC0415 - needs the widgets of the application

        self.panel = Panel(self.logic, self.resourcePath("UI/ICHDiagnosis.ui"))
        self.layout.addWidget(self.panel.widget)
        self.panel.set_parameters(self.logic.getParameterNode())
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndClose)

    def onReload(self) -> None:
        """Read the library's files anew as well, which the application's own reload leaves as they were."""
        for name in [name for name in sys.modules if name.partition(".")[0] == "ICHDiagnosisLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def cleanup(self) -> None:
        """End what runs, and let the panel go: the application ends, or the module is reloaded."""
        self.removeObservers()
        self._end_what_runs()
        if self.panel is not None:
            self.panel.close()

    def enter(self) -> None:
        """Show the scene as it is now: the module was opened."""
        self._entered = True
        self._show_parameters()
        if self.panel is not None:
            self.panel.enter()

    def exit(self) -> None:
        """Give up keyboard shortcuts: the module was left. An analysis goes on."""
        self._entered = False
        if self.panel is not None:
            self.panel.exit()

    def onSceneStartClose(self, _caller: object, _event: object) -> None:
        """End what runs: its volume is about to go."""
        self._end_what_runs()

    def onSceneEndClose(self, _caller: object, _event: object) -> None:
        """Take up the new scene's parameters, where the module is open."""
        if self._entered:
            self._show_parameters()

    def _show_parameters(self) -> None:
        if self.panel is not None and self.logic is not None:
            self.panel.set_parameters(self.logic.getParameterNode())

    def _end_what_runs(self) -> None:
        if self.panel is not None and self.logic is not None:
            self.logic.close()
            self.panel.set_parameters(None)


class ICHDiagnosisTest(ScriptedLoadableModuleTest):
    """The main steps in the real application: phantom, analysis, result on the scene, second run, cancel."""

    def setUp(self) -> None:
        """Begin with an empty scene and a folder that goes with the test."""
        slicer.mrmlScene.Clear()
        folder = tempfile.TemporaryDirectory(prefix="ich-diagnosis-test-")
        self.addCleanup(folder.cleanup)
        self.output_folder = Path(folder.name)

    def runTest(self) -> None:
        """Run all steps."""
        for test in (self.test_a_phantom_is_read_and_shown, self.test_cancel_leaves_no_result):
            self.setUp()
            test()

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

    def _started_logic(self) -> ICHDiagnosisLogic:
        logic = ICHDiagnosisLogic()
        self.addCleanup(logic.close)
        self.assertEqual(logic.missing_packages(), (), "open the module and press Apply once to install what it needs")
        parameters = logic.getParameterNode()
        parameters.inputVolume = logic.load_phantom({"pixels": "128", "slices": "24"})
        parameters.outputFolder = self.output_folder
        parameters.keepHistory = False
        logic.start_analysis()
        return logic

    def _poll(self, logic: ICHDiagnosisLogic) -> AnalysisUpdate:
        slicer.app.processEvents()
        time.sleep(0.05)
        return logic.analysis.poll()
