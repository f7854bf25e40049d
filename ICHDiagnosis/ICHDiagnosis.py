"""3D Slicer module: intracranial haemorrhage on a head CT, with the evidence. The work is done in ICHDiagnosisLib."""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import qt
import slicer
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from ICHDiagnosisLib.messages import message

OLDEST_SLICER = (5, 10)
IS_NEW_ENOUGH = (int(slicer.app.majorVersion), int(slicer.app.minorVersion)) >= OLDEST_SLICER

# An older Slicer has Python 3.9, which cannot even import what follows; this file and the messages it can.
if IS_NEW_ENOUGH:
    from ICHDiagnosisLib.analysis import TermsNotAcceptedError
    from ICHDiagnosisLib.batch.batch import Batch
    from ICHDiagnosisLib.batch.studies import BatchStudy
    from ICHDiagnosisLib.batch.worklist import worklist_command, write_worklist
    from ICHDiagnosisLib.bundle.command import BundleMissingError
    from ICHDiagnosisLib.bundle.dicom_process import DicomProcess
    from ICHDiagnosisLib.bundle.location import find_bundle
    from ICHDiagnosisLib.bundle.process import BundleProcess
    from ICHDiagnosisLib.bundle.resident_bundle import ResidentBundle
    from ICHDiagnosisLib.bundle.run import BundleRun, RunSettings
    from ICHDiagnosisLib.diagnose import Diagnosis, at_own_thresholds, diagnose
    from ICHDiagnosisLib.dicom_export import DicomExport
    from ICHDiagnosisLib.history import History
    from ICHDiagnosisLib.install.installers import python_executable
    from ICHDiagnosisLib.install.requirements import MissingPackage, find_missing, read_requirements
    from ICHDiagnosisLib.logic import AnalysisLogic, record_analysis, settings_of
    from ICHDiagnosisLib.parameters import Parameters, forget_unreadable_parameters, rename_earlier_parameters
    from ICHDiagnosisLib.sample_data import load_phantom, phantom_command, register_sample_data
    from ICHDiagnosisLib.self_test import ICHDiagnosisTest
    from ICHDiagnosisLib.series_choice import choice_command, choose_series
    from ICHDiagnosisLib.settings import ModuleSettings

    __all__ = ["ICHDiagnosis", "ICHDiagnosisLogic", "ICHDiagnosisTest", "ICHDiagnosisWidget"]

if TYPE_CHECKING:
    from ICHDiagnosisLib.panel.panel import Panel


def version_needed() -> str:
    """State in one line which Slicer is needed."""
    needed = ".".join(str(number) for number in OLDEST_SLICER)
    return message("module.slicer_too_old", needed=needed, found=slicer.app.applicationVersion)


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
        if IS_NEW_ENOUGH:
            slicer.app.startupCompleted.connect(self.onStartupCompleted)
        else:
            self.parent.helpText = version_needed()
            logging.warning("%s", version_needed())

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
    resident : ResidentBundle
        The process that reads studies, and stays where the settings allow it.
    analysis, batch : AnalysisLogic, Batch
        One volume at a time, or many studies; never beside each other.
    dicom_export : DicomExport
        A finished result as DICOM objects.
    results_batch : Batch
        The studies of a reader study; its results are in no history, which a reader could look into.

    Raises
    ------
    BundleMissingError
        If the bundle is not where the extension puts it.
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        if not IS_NEW_ENOUGH:
            raise RuntimeError(version_needed())
        self.bundle_root = find_bundle(Path(__file__))
        self._parameters: Parameters | None = None
        documents = qt.QStandardPaths.writableLocation(qt.QStandardPaths.DocumentsLocation)
        self.settings = ModuleSettings(Path(documents))
        self.history = History(Path(slicer.app.slicerUserSettingsFilePath).parent)
        environment, settings = slicer.util.startupEnvironment(), self.settings
        self.resident = ResidentBundle(environment, lambda: settings.worker, BundleProcess(environment))
        self._run = run = BundleRun(self.resident, python_executable(), self.bundle_root)
        database = getattr(slicer, "dicomDatabase", None)
        self.analysis = AnalysisLogic(run, self.missing_packages, self.history, database)
        self.dicom_export = DicomExport(DicomProcess(python_executable(), self.bundle_root, environment), database)
        self.batch = Batch(run, self.missing_packages, record=lambda *found: record_analysis(self.history, *found))
        self.results_batch = Batch(run, self.missing_packages)

    def getParameterNode(self) -> Parameters:
        """Return the parameters of the scene: one wrapper per node, for Slicer 5.10 never takes its observers off."""
        node = super().getParameterNode()
        rename_earlier_parameters(node)
        forget_unreadable_parameters(node)
        if self._parameters is None or self._parameters.parameterNode is not node:  # type: ignore[attr-defined]
            self._parameters = Parameters(node)  # type: ignore[call-arg] # its decorator makes the constructor
        return self._parameters

    def forget_parameters(self) -> None:
        """Let go of the parameters of the scene, which are read at every change of their node while they live."""
        self._parameters = None

    def missing_packages(self) -> tuple[MissingPackage, ...]:
        """Return the Python packages that the bundle needs and that are not there."""
        return find_missing(read_requirements())

    def start_analysis(self) -> None:
        """Start an analysis with the parameters of the scene; errors as :meth:`AnalysisLogic.start`."""
        parameters = self.getParameterNode()
        self.history.enabled = self.settings.keep_history
        self.analysis.start(parameters.inputVolume, settings_of(parameters, self.settings.output_folder))

    def start_batch(self, studies: tuple[BatchStudy, ...]) -> None:
        """Start a batch with the parameters of the scene; errors as :meth:`Batch.start`."""
        self.history.enabled = self.settings.keep_history
        self.batch.start(studies, settings_of(self.getParameterNode(), self.settings.output_folder))

    def compute_results(self, studies: tuple[BatchStudy, ...], output_folder: Path) -> None:
        """Start computing the results of a reader study; errors as :meth:`Batch.start`."""
        self.results_batch.start(studies, settings_of(self.getParameterNode(), output_folder))

    def diagnose(  # noqa: PLR0913 (what the panel lets one choose)
        self,
        volume_node: slicer.vtkMRMLScalarVolumeNode,
        *,
        output_folder: Path | str | None = None,
        device: str | None = None,
        operating_point: str = "balanced",
        thresholds: Mapping[str, float] | None = None,
        explanation_method: str = "slice_gradcam",
        use_original_files: bool = True,
        accept_terms: bool = False,
        system: str = "",
    ) -> Diagnosis:
        """Analyse a volume without the panel: wait for the result, and put it on the scene.

        Parameters
        ----------
        volume_node : vtkMRMLScalarVolumeNode
            The head CT.
        output_folder, device : Path or str, optional
            Folder in which the run makes one of its own, else that of the settings; ``"cpu"``, ``"cuda"`` or ``"mps"``.
        operating_point, thresholds : str, mapping of str to float
            Named set of thresholds, and thresholds of one's own (probability, 0..1) by label in the place of its.
        explanation_method : str
            ``"gradcam"``, ``"gradcam++"`` or ``"slice_gradcam"``.
        use_original_files : bool
            Whether a volume from DICOM is read from its original files.
        accept_terms : bool
            States that the caller accepts the terms of the weights; not needed where they were accepted in the panel.
        system : str
            Name of an installed system, such as ``"radnet"``, which explains by a method of its own.

        Raises
        ------
        TermsNotAcceptedError
            If nobody has accepted the terms of the weights.
        PackagesMissingError
            If packages must be installed first: open the module once and press Apply.
        CannotStartError, DiagnosisError
            If something runs already, or input or output cannot be used; if the analysis fails.
        ValueError
            If there is no such label, or a threshold is no probability.
        """
        terms = self.settings.terms_to_accept(self.bundle_root)
        if terms and not accept_terms:
            raise TermsNotAcceptedError("terms.not_accepted", terms=terms)
        self.history.enabled = self.settings.keep_history
        settings = RunSettings(
            output_folder=self.settings.output_folder if output_folder is None else Path(output_folder).resolve(),
            device=device,
            operating_point=operating_point,
            explanation_method=explanation_method,
            use_original_files=use_original_files,
            system=system,
        )
        with tempfile.TemporaryDirectory(prefix="ich-operating-point-") as folder:
            if thresholds:
                settings = at_own_thresholds(settings, self.bundle_root, thresholds, Path(folder))
            return diagnose(self.analysis, volume_node, settings)

    def load_phantom(self, options: dict[str, str] | None = None) -> slicer.vtkMRMLScalarVolumeNode:
        """Make a phantom with haemorrhage and load it; errors as :func:`load_phantom` of the sample data."""
        runner = BundleProcess(slicer.util.startupEnvironment(), phantom_command)
        return load_phantom(runner, python_executable(), self.bundle_root, slicer.app.processEvents, options)

    def write_worklist(self, results: Path) -> Path:
        """Have the worklist of a folder of results written; return its page. Errors as :func:`write_worklist`."""
        runner = BundleProcess(slicer.util.startupEnvironment(), worklist_command)
        return write_worklist(runner, python_executable(), self.bundle_root, results, slicer.app.processEvents)

    def choose_series(self, study: Path) -> str:
        """Return the UID of the series that the bundle reads of a folder; errors as :func:`choose_series`."""
        runner = BundleProcess(slicer.util.startupEnvironment(), choice_command)
        return choose_series(runner, python_executable(), self.bundle_root, study, slicer.app.processEvents)

    def warm_up(self) -> None:
        """Have the network loaded before a study comes, unless that is switched off; return at once."""
        if self.settings.keep_warm and not self.resident.warm and not self.missing_packages():
            settings = settings_of(self.getParameterNode(), self.settings.output_folder)
            try:
                request = self._run.request(settings, Path(), Path())
            except BundleMissingError as error:
                logging.warning("no worker of the bundle: %s", error)
                return
            self.resident.warm_up(request)

    def end_worker(self) -> None:
        """End the process that waits for studies."""
        self.resident.end_worker()

    def close(self) -> None:
        """End whatever runs, and wait for that."""
        self.analysis.close()
        self.batch.close()
        self.dicom_export.close()
        self.results_batch.close()


class ICHDiagnosisWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Holds the panel and tells it when the module is opened or left and when the scene is closed."""

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: ICHDiagnosisLogic | None = None
        self.panel: Panel | None = None
        self._entered = False

    def setup(self) -> None:
        """Build the panel; in an older Slicer or without the bundle, state that instead."""
        ScriptedLoadableModuleWidget.setup(self)
        if not IS_NEW_ENOUGH:
            self._state(version_needed())
            return
        try:
            self.logic = ICHDiagnosisLogic()
        except BundleMissingError as error:
            self._state(str(error))
            return
        from ICHDiagnosisLib.panel.panel import Panel  # noqa: PLC0415 - needs the widgets of the application

        self.panel = Panel(self.logic, self.resourcePath("UI/ICHDiagnosis.ui"))
        self.layout.addWidget(self.panel.widget)
        self.panel.set_parameters(self.logic.getParameterNode())
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, lambda *_: self._end_what_runs())
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndClose)

    def onReload(self) -> None:
        """Read the library's files anew as well, and enter the new panel: the application does neither."""
        for name in [name for name in sys.modules if name.partition(".")[0] == "ICHDiagnosisLib"]:
            del sys.modules[name]
        was_entered = self._entered
        ScriptedLoadableModuleWidget.onReload(self)
        if was_entered:
            slicer.modules.ICHDiagnosisWidget.enter()

    def cleanup(self) -> None:
        """End what runs, and let the panel go: the application ends, or the module is reloaded."""
        self.removeObservers()
        self._entered = False
        self._end_what_runs()
        if self.logic is not None:
            self.logic.end_worker()
        if self.panel is not None:
            self.panel.close()
        if self.logic is not None:
            self.logic.forget_parameters()

    def enter(self) -> None:
        """Show the scene as it is now: the module was opened."""
        self._entered = True
        self._show_parameters()
        if self.panel is not None:
            self.panel.enter()
            # After the panel was drawn: PythonSlicer is asked first what it starts.
            qt.QTimer.singleShot(0, self._warm_up)

    def exit(self) -> None:
        """Give up keyboard shortcuts: the module was left. An analysis goes on."""
        self._entered = False
        if self.panel is not None:
            self.panel.exit()

    def onSceneEndClose(self, _caller: object, _event: object) -> None:
        """Take up the new scene's parameters, where the module is open."""
        if self._entered:
            self._show_parameters()

    def _state(self, text: str) -> None:
        """Show a line in the place of the panel."""
        label = qt.QLabel(text)
        label.wordWrap = True
        self.layout.addWidget(label)
        self.layout.addStretch(1)

    def _show_parameters(self) -> None:
        if self.panel is not None and self.logic is not None:
            self.panel.set_parameters(self.logic.getParameterNode())

    def _warm_up(self) -> None:
        if self._entered and self.logic is not None:
            self.logic.warm_up()

    def _end_what_runs(self) -> None:
        if self.panel is not None and self.logic is not None:
            self.logic.close()
            self.panel.set_parameters(None)
