"""Every text that users read in the module, by code: one catalogue, ready for translation. Standard library only.

Slicer's translation tools (``lupdate_preprocess.py``, then Qt's ``lupdate``) put each ``_("...")`` of this file into
the context ``ICHDiagnosisLib.messages``, and :func:`message` asks ``slicer.i18n.tr`` for that context when a text is
needed; the texts of installing, and of history, reader study and comparison, have files, and contexts, of their own.
Outside the application texts stay English. The texts of ``ICHDiagnosis.ui`` are in Qt's own mechanism.

Placeholders are named and stay as they are in a translation. Lines of the log, and errors that only a programmer can
cause, are no messages.
"""

from __future__ import annotations

import sys

from .installation_messages import INSTALLATION_CATALOGUE, installation_text
from .study_messages import STUDY_CATALOGUE, study_text


def _(text: str) -> str:
    """Mark a text for extraction; it is translated when it is needed."""
    return text


CATALOGUE = {
    # The module in the application
    "module.title": _("ICH Diagnosis"),
    "module.help": _(
        "Computes from a non-contrast head CT how likely each type of intracranial haemorrhage is, and shows the "
        "slices and voxels that the network used. "
        "Research use only: not a medical device, not for diagnosis or treatment. "
        "Needs 3D Slicer 5.10 or newer, and no Intel Mac. The first run installs about 1.1 GB, with an NVIDIA graphics "
        "card about 5 GB. The weights are for non-commercial research and education."
    ),
    "module.acknowledgement": _(
        "An open re-implementation of DrCT2 (Wang, Fu, Li, Pei. Medical Physics 2022) as a MONAI bundle."
    ),
    "module.slicer_too_old": _("ICH Diagnosis needs 3D Slicer {needed} or newer; this is {found}."),
    "sample.failed": _("The phantom could not be made."),
    "sample.not_made": _("The phantom could not be made: {reason}"),
    "sample.not_loaded": _("The phantom could not be loaded."),
    # The bundle
    "bundle.missing": _("The bundle is missing: no {name} beside {module}. Reinstall the extension."),
    "bundle.no_configuration": _("The bundle is missing: {file} does not exist. Reinstall the extension."),
    "bundle.no_system": _("{name!r} is not installed: choose another system under Options, or put its weights there."),
    "bundle.no_operating_points": _("{file} lists no operating point. Reinstall the extension."),
    "bundle.metadata_unreadable": _("{file} cannot be read: {error}"),
    "bundle.metadata_incomplete": _("{file} does not list the bundle's version and weights"),
    "bundle.metadata_outside": _("{file} names a file outside the bundle: {name}"),
    "bundle.metadata_no_weights": _("{file} lists no weights"),
    "bundle.unsafe_setting": _("The value of {key} must not begin with {character!r}: MONAI would run or resolve it"),
    # A run
    "run.busy": _("An analysis is running: wait for its end or cancel it."),
    "run.running": _("An analysis is running."),
    "run.wait_or_cancel": _("Wait for its end, or cancel it."),
    "run.output_not_writable": _("The output folder cannot be written: {error}"),
    "run.not_started": _("The analysis could not be started: {error}"),
    "run.windows_refused": _("Windows refused to tie the analysis to this application"),
    "run.nothing_to_repeat": _("There is no analysis to run again."),
    "run.volume_removed": _("The volume is no longer in the scene; the result is in its folder."),
    "run.without_original_files": _("Run again without the original DICOM files."),
    "run.result_count": _("The analysis wrote {count} results where one was expected."),
    "stage.starting": _("Starting"),
    "stage.reading": _("Reading the study"),
    "stage.slices": _("Classifying every slice"),
    "stage.key_slices": _("Classifying key slices at high resolution"),
    "stage.explanation": _("Computing the explanation"),
    "stage.maps": _("Computing attribution maps"),
    "stage.writing": _("Writing results"),
    "stage.done": _("Done"),
    "ending.cancelled": _("The analysis was cancelled."),
    "ending.complete": _("The analysis is complete."),
    "ending.some_not_evaluable": _("The analysis is complete, but not every study could be evaluated."),
    "ending.see_results": _("Each result states why."),
    "ending.see_log": _("The log has the details."),
    "ending.gpu_memory": _("The graphics card ran out of memory."),
    "ending.run_on_cpu_same_result": _("Run again on the CPU: slower, same result."),
    "ending.gpu_unusable": _("The graphics card could not be used: {error}"),
    "ending.run_on_cpu": _("Run again on the CPU."),
    "ending.out_of_memory": _("The system ended the analysis: out of memory, or killed."),
    "ending.free_memory": _("Close other applications or volumes and run again."),
    "ending.killed_or_crashed": _("The analysis crashed, or the system ended it for lack of memory."),
    "ending.free_memory_or_cpu": _("Close other applications or volumes, or run again on the CPU."),
    "ending.library_missing": _("Python could not start: a library is missing or damaged."),
    "ending.disk_full": _("The disk is full: {error}"),
    "ending.free_disk_space": _("Free some space and run again."),
    "ending.check_installation": _("Check the installation."),
    "ending.crashed": _("The analysis crashed (status {status})."),
    "ending.report_crash": _("Run again on the CPU, and report the log if it happens again."),
    "ending.no_message": _("The analysis failed without a message (status {status})."),
    "remedy.run_on_cpu": _("Run again on the CPU"),
    "remedy.check_installation": _("Check the installation"),
    "remedy.read_log": _("Show the log"),
    # The input
    "input.no_scene": _("There is no scene."),
    "input.none": _("Choose a head CT: load one, or take the phantom from Sample Data."),
    "input.no_voxels": _("The chosen volume holds no voxels."),
    "input.colours": _("The chosen volume holds colours; choose a head CT in Hounsfield units."),
    "input.attribution_map": _("The chosen volume is an attribution map of this module; choose a head CT."),
    "input.no_folder": _("Choose a folder for the results, with its whole path."),
    "input.folder_too_deep": _("The folder for the results has too long a path for Windows: choose another one."),
    "input.packages_missing": _("Some Python packages must be installed first."),
    "input.not_written": _("The study could not be written for the analysis: {error}"),
    "volume.not_written": _("The voxels of {name!r} could not be written"),
    "volume.removed": _("The volume is no longer in the scene."),
    "source.voxels": _("Not from DICOM: read from its voxels, quality checks have no headers."),
    "source.voxels_by_choice": _("From DICOM: read from its voxels, as chosen under Options."),
    "source.files": _("From DICOM: its {count} original files are read, headers included."),
    "source.files_not_found": _("From DICOM, but its original files were not found: read from its voxels."),
    "device.automatic": _("Automatic"),
    "device.gpu": _("Graphics card (GPU)"),
    "device.cpu": _("Processor (CPU)"),
    "method.gradcam": _("Grad-CAM"),
    "method.gradcam_plus_plus": _("Grad-CAM++"),
    "method.slice_gradcam": _("Grad-CAM of single slices"),
    "button.apply": _("Apply"),
    "button.apply_hint": _("Read the chosen head CT; the result appears below and on the slices."),
    "button.cancel": _("Cancel"),
    "button.cancel_hint": _("End the analysis at once; nothing is kept of it."),
    "button.cancelling": _("Cancelling…"),
    "diagnosis.failed": _("The analysis gave no result: {reason}"),
    # Reading a result folder
    "result.no_worklist": _("{folder} has no worklist that this version reads."),
    "result.no_folder": _("there is no result folder {folder!r}"),
    "result.no_document": _("{folder!r} holds no result.json: the analysis did not finish, or it is no result"),
    "result.unreadable": _("result.json in {folder!r} cannot be read: {error}"),
    "result.damaged": _("result.json is half-written or damaged: {error}"),
    "result.other_schema": _("result.json is of schema {found!r}; this version reads {known!r}"),
    "result.unknown_status": _("result.status is {status!r}, not 'evaluated' or 'not_evaluable'"),
    "result.unknown_certainty": _("the certainty of the impression is {certainty!r}, which is none"),
    "result.colour": _("the colour of a finding must be three whole numbers in 0..255"),
    "result.refusal_with_findings": _("a study that was not evaluated must have no findings, slices or maps"),
    "result.incomplete": _("an evaluated study must have findings, slices, maps and a shape"),
    "result.same_finding_twice": _("two findings have the same key"),
    "result.slices_out_of_order": _("the slices are not one per original slice, in order"),
    "result.same_rank_twice": _("two key slices have the same rank"),
    "result.slices_and_shape": _("the number of slices does not fit the shape of the maps"),
    "result.slice_labels": _("the labels of its slices are not those of its findings"),
    "result.map_labels": _("attention has no label, and every Grad-CAM has one"),
    "result.map_of_nothing": _("there must be at most one map per finding, and none of anything else"),
    "result.lesion_groups": _("lesion volumes must be of groups that the result lists, each once"),
    "result.without_folder": _("this result was restored from a scene and has no folder of map files"),
    "result.file_outside": _("result.json names a file outside its folder: {file!r}"),
    "result.file_is_link": _("{file!r} in {folder!r} is a link, not a file of the result"),
    "result.file_missing": _("{file!r} is missing from {folder!r}: the folder is not whole"),
    "field.missing": _("{field} is missing"),
    "field.wrong_type": _("{field} has the wrong type: {type}"),
    "field.outside": _("{field} is {value}, outside {low}..{high}"),
    "field.below": _("{field} is {value}, below {low}"),
    "field.not_three_integers": _("{field} must be three numbers"),
    "field.not_texts": _("{field} must be a list of texts"),
    "field.not_objects": _("{field} must be a list of objects"),
    "map.no_nifti": _("{file!r} is no NIfTI file"),
    "map.damaged": _("{file!r} is damaged: {error}"),
    "map.foreign": _("{file!r} is no map of this module: one uint8 value per voxel and an sform are needed"),
    "geometry.no_voxels": _("{volume!r} holds no voxels"),
    "geometry.no_maps": _("the result has no maps"),
    "geometry.map_shape": _("{file!r} is of shape {found}, not {expected}"),
    "geometry.slices": _("the maps have {maps} voxels but {slices} slices are listed"),
    "geometry.other_shape": _(
        "the result belongs to another volume: its maps have {maps} voxels, {volume!r} has {voxels}"
    ),
    "geometry.other_place": _("the result belongs to another volume: its maps lie {offset:.1f} voxels off {volume!r}"),
    "geometry.without_tilt": _(
        "3D Slicer shows this series without its gantry tilt or slice gaps; the maps follow its voxels"
    ),
    # The result in the panel
    "result.not_evaluable": _("Not evaluable: {reason}"),
    "result.not_evaluable_caution": _("There is no result: the study was not read, so nothing is known of it."),
    "result.of_earlier_analysis": _("This is the result of an earlier analysis."),
    "result.operating_point": _("operating point {name}"),
    "result.seconds": _("{seconds:.1f} s"),
    "earlier.no_finding": _("Result of an earlier version: no finding at or above its threshold"),
    "earlier.one_finding": _("Result of an earlier version: 1 finding at or above its threshold"),
    "earlier.findings": _("Result of an earlier version: {count} findings at or above their threshold"),
    "earlier.caution": _(
        "It holds no impression: read the findings one by one. A negative result does not exclude haemorrhage."
    ),
    "finding.positive": _("positive"),
    "finding.negative": _("negative"),
    "finding.close": _("{result}, close"),
    "finding.hint": _(
        "{name}: probability {probability:.3f}, threshold {threshold:.3f}. Click to go to its key slice."
    ),
    "finding.default_threshold": _(
        "Too few patients had or lacked this type to choose a threshold: 50 % is the default, and may miss it."
    ),
    "volume.total": _("Lesion, total"),
    "volume.group": _("Lesion, {name}"),
    "volume.ml": _("{ml} ml"),
    "volume.limits": _("{low} to {high} ml"),
    "volume.no_limits": _("not measured"),
    "volume.limits_header": _("{percent:g} % between"),
    "volume.hint": _("Measured by the network inside the lesion's contour. Click to go where it is largest."),
    "volume.go": _("Click to go where it is largest."),
    "volume.left_out": _("not stated"),
    "volume.spacing_assumed": _("The files do not state the size of the voxels: it was assumed, and volumes with it."),
    "slice.no_key_slices": _("No key slices"),
    "slice.key_slices": _("{count} key slices"),
    "slice.key_slice": _("Slice {number} · {place} of {count} key slices, in scan order"),
    "slice.number": _("Slice {number}"),
    "slice.attention": _("Slice {number}: {percent:.1f} % of the attention"),
    "slice.attention_of_key_slice": _("Slice {number}: {percent:.1f} % of the attention, key slice (rank {rank})"),
    "slice.output": _("{attention}. Any haemorrhage on this slice: {probability}, no finding by itself"),
    # The result on the scene
    "node.folder": _("ICHDiagnosis: {name}"),
    "node.evidence": _("{name}: ICHDiagnosis evidence"),
    "node.findings": _("{name}: ICHDiagnosis findings"),
    "node.volumes": _("{name}: ICHDiagnosis lesion volumes"),
    "node.attention": _("{name}: ICHDiagnosis slice attention"),
    "node.key_slices": _("{name}: ICHDiagnosis key slices"),
    "node.provenance": _("{name}: ICHDiagnosis provenance"),
    "node.document": _("{name}: ICHDiagnosis result"),
    "node.gradcam": _("{name}: Grad-CAM {label}"),
    "node.gradcam_description": _("Grad-CAM of {finding}: evidence, not a lesion mask."),
    "node.saliency": _("{name}: predicted saliency"),
    "node.saliency_description": _(
        "Where the network expects a reader to look; what it learned that from is not stated. No evidence of "
        "haemorrhage."
    ),
    "node.saliency_masks_description": _(
        "Where the network expects a reader to look, learned from readers' masks in place of gaze. No evidence of "
        "haemorrhage."
    ),
    "node.saliency_gaze_description": _(
        "Where the network expects a reader to look, learned from recorded gaze. No evidence of haemorrhage."
    ),
    "segment.gradcam": _("Grad-CAM {label} >= {threshold:g} %: evidence, not a lesion mask"),
    "segment.lesion": _("Lesion: {group}, by the network"),
    "segment.key_slices": _("Slice attention: key slices"),
    "plot.title": _("Slice attention: the weight of each slice in the study's result"),
    "plot.attention": _("Slice attention"),
    "plot.key_slices": _("Key slices"),
    "plot.hint": _("Slice attention: the weight of each slice. Click a bar to go there."),
    "plot.hint_with_outputs": _(
        "Slice attention: the weight of each slice. Click a bar to go there. Lower row: the probability of any "
        "haemorrhage on each slice, 0 to 100 %; no finding by itself."
    ),
    "plot.slices": _("Slice index (0 = first original slice)"),
    "table.compartment": _("Compartment"),
    "table.volume": _("Volume (ml)"),
    "table.low": _("Lower limit (ml)"),
    "table.high": _("Upper limit (ml)"),
    "table.slice": _("Slice index"),
    "table.position": _("Position (mm)"),
    "table.attention": _("Attention (%)"),
    "table.slice_output": _("{label} on the slice (%)"),
    "table.rank": _("Rank"),
    "table.finding": _("Finding"),
    "table.probability": _("Probability"),
    "table.threshold": _("Threshold"),
    "table.positive": _("Positive"),
    "table.finding_code": _("Finding code"),
    "table.region_code": _("Region code"),
    "table.label": _("Label"),
    "table.default_threshold": _("Default threshold"),
    "table.yes": _("yes"),
    "table.no": _("no"),
    "provenance.none": _("unknown"),
    "provenance.model": _("Model: {name} {version}, network {network}, trained on {trained_on}"),
    "provenance.weights": _("Weights: {name}, SHA-256 {digest}"),
    "provenance.device": _("Device: {device}, precision {precision}"),
    "provenance.views": _("Slices read: {views}"),
    "provenance.both_sides": _("from both sides, as they are and left and right exchanged"),
    "provenance.one_side": _("from one side, as they are"),
    "provenance.study": _("Study: {name}, series {series}, {slices} slices"),
    "provenance.quality": _("Quality: {warning}"),
    "provenance.read": _("Read: {item} {reason}"),
    "provenance.passed_over": _("Passed over: {item} {reason}"),
    "provenance.operating_point": _("Operating point: {name}"),
    "provenance.finding": _("{name}: probability {probability:.3f}, threshold {threshold:.3f}, {outcome}"),
    "provenance.finding_at_default": _(
        "{name}: probability {probability:.3f}, threshold {threshold:.3f} (default, none was chosen), {outcome}"
    ),
    "provenance.impression": _("Impression: {impression}"),
    "provenance.evidence": _("Grad-CAM and slice attention show what the network used: evidence, not a lesion mask."),
    # Export
    "export.added": _("Added to {name}."),
    "export.saved": _("Saved as {name}."),
    "export.table_title": _("Add the findings to a table"),
    "export.image_title": _("Save an image of the slice view"),
    "export.image_not_written": _("{name} cannot be written."),
    "export.no_slice_view": _("The layout has no slice view."),
    "export.caption_map": _("Grad-CAM {name} ≥ {threshold:g} %: evidence, not a lesion mask"),
    "export.caption_lesion": _("lesion contour by the network, {ml} ml"),
    "export.caption_research": _("research use only"),
    "dicom.title": _("A folder for the DICOM objects"),
    "dicom.hint": _("Report, key slices, segmentation, maps and PDF as DICOM objects of the same study"),
    "dicom.hint_not_offered": _("Only for a result that was read from the original files of a DICOM volume"),
    "dicom.no_original_files": _("The original DICOM files of this volume were not found: load it from DICOM again."),
    "dicom.writing": _("Writing DICOM objects…"),
    "dicom.written": _("{count} DICOM objects written into {folder}."),
    "dicom.imported": _("{count} DICOM objects written into {folder} and added to the DICOM database."),
    "dicom.not_imported": _(
        "{count} DICOM objects written into {folder}; the DICOM database did not take them, import them by hand."
    ),
    "dicom.failed": _("No DICOM objects: {reason}"),
    "table.nothing": _("There is nothing to export."),
    "table.other_labels": _("The studies have different sets of labels."),
    "table.not_writable": _("{name} cannot be written: {error}"),
    "table.no_table": _("{name} is no table of findings: choose another file."),
    "table.other_columns": _("{name} has other columns: choose another file."),
    "table.incomplete": _("The last line of {name} is incomplete: repair it or choose another file."),
    # Many studies
    "batch.no_studies": _("There are no studies to analyse."),
    "batch.no_result": _("The analysis wrote no result."),
    "batch.finished": _("{done} of {count} studies have results. Double-click a row to open its report."),
    "batch.lines_added": _("{count} lines added to {name}."),
    "batch.table_title": _("Add all findings to a table"),
    "batch.made_before": _("{status} (before)"),
    "batch.no_worklist": _("The worklist could not be written: {reason}"),
}


def message(code: str, **values: object) -> str:
    """Return a text of the catalogue in the language of the application, its placeholders filled.

    Raises
    ------
    KeyError
        If there is no such code, or a placeholder has no value.
    """
    if code in INSTALLATION_CATALOGUE:
        return installation_text(code).format(**values)
    if code in STUDY_CATALOGUE:
        return study_text(code).format(**values)
    i18n = sys.modules.get("slicer.i18n")
    text = CATALOGUE[code]
    return (text if i18n is None else i18n.tr(text)).format(**values)


class MessageError(Exception):
    """An error that the user reads: one line of the catalogue.

    Attributes
    ----------
    code : str
        Code of the message.
    values : dict of str to object
        What its placeholders were filled with.
    """

    def __init__(self, code: str, **values: object) -> None:
        super().__init__(message(code, **values))
        self.code, self.values = code, values
