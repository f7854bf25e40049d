"""Every text that users read of the history, the reader study and comparing two studies; see ``messages.py``."""

from __future__ import annotations

import sys


def _(text: str) -> str:
    """Mark a text for extraction; it is translated when it is needed."""
    return text


STUDY_CATALOGUE = {
    # The reader study
    "sitting.without_ai": _("without AI"),
    "sitting.with_ai": _("with AI"),
    "label.any": _("Any haemorrhage"),
    "label.epidural": _("Epidural"),
    "label.intraparenchymal": _("Intraparenchymal"),
    "label.intraventricular": _("Intraventricular"),
    "label.subarachnoid": _("Subarachnoid"),
    "label.subdural": _("Subdural"),
    "confidence.uncertain": _("completely uncertain"),
    "confidence.slightly": _("slightly certain"),
    "confidence.probable": _("highly probable"),
    "confidence.certain": _("certain"),
    "protocol.exists": _("{folder} holds a reader study already: choose another folder."),
    "protocol.no_cases": _("There are no studies to read."),
    "protocol.weeks": _("The wash-out must be 0 to 52 weeks, not {weeks}."),
    "protocol.not_written": _("The reader study cannot be written: {error}"),
    "protocol.none": _("{folder} holds no reader study: choose its folder, or make a new one."),
    "protocol.other_schema": _("The reader study is of version {found!r}, which this version does not read."),
    "protocol.damaged": _("The file of the reader study (protocol.json) is damaged: {error}"),
    "truth.unreadable": _("{name} cannot be read: {error}"),
    "truth.no_column": _("{name} lacks columns: {columns}"),
    "truth.study_twice": _("{name}, line {line}: a study is named twice or not at all: {study!r}"),
    "truth.value": _("{name}, line {line}: {column} must be 0 or 1, not {value!r}"),
    "truth.contradiction": _("{name}, line {line}: a subtype is present and any haemorrhage is not."),
    "truth.missing_case": _("The reference standard has no line for {name}: add it, or leave the study out."),
    "journal.unreadable": _("{name} cannot be read: {error}"),
    "journal.not_written": _("{name} cannot be written, so the step did not count: {error}"),
    "journal.damaged": _("{name}, line {line}, is damaged: it was changed by hand, or the disk is. Keep a copy of it."),
    "journal.contradiction": _(
        "{name}, line {line}, does not follow from the lines before: {error}. Keep a copy of it."
    ),
    "journal.no_sitting": _("{name} is no journal of a sitting of this version."),
    "journal.written_elsewhere": _("{name} was written by another program: is the sitting open twice?"),
    "sitting.no_pseudonym": _(
        "Enter a pseudonym of letters and a number, such as R01. Never a name: it would stand in every table."
    ),
    "sitting.first_incomplete": _("{participant} has not completed the sitting without AI, which comes first."),
    "sitting.complete": _("{participant} has completed the sitting {sitting}."),
    "sitting.too_early": _(
        "The wash-out lasts until {earliest}. To begin earlier, state why; the reason stands in the evaluation."
    ),
    "sitting.other_protocol": _("The journal of {participant} belongs to another version of this reader study."),
    "ai.none": _("Case {case} ({name}) has no result: compute the results before the sitting with AI."),
    "ai.several": _("Case {case} ({name}) has {count} results: leave one of them in the folder."),
    "ai.damaged": _("The result of case {case} ({name}) cannot be used: {error}"),
    "ai.not_evaluable": _("Case {case} ({name}) could not be evaluated ({reason}): a reader study needs it replaced."),
    "ai.other_series": _("The result of case {case} ({name}) is of another series: compute the results anew."),
    "ai.no_fit": _("The result of case {case} ({name}) does not lie on its voxels: {error}"),
    "case.not_loaded": _("Case {case} ({name}) cannot be loaded: {error}"),
    "case.no_files": _("the folder holds no CT series to be read"),
    "case.several_series": _(
        "the folder holds {count} CT series, and this reader study was made before one was chosen"
    ),
    "series.chosen": _("{name} holds {count} CT series; read is the one that an analysis would read: {series}."),
    "series.described": _("series {number} {description!r}, {count} images"),
    "series.no_such": _("{name} does not hold exactly one series {series!r}. There are: {found}."),
    "series.not_chosen": _("No series of {name} can be read: {reason}"),
    "series.several_studies": _("{name} holds {count} studies: give each a folder of its own."),
    "evaluation.nothing": _("No reader has read a study in both sittings yet: there is nothing to evaluate."),
    "evaluation.not_written": _("The evaluation cannot be written: {error}"),
    # The evaluation's page
    "page.title": _("Reader study: without and with AI"),
    "page.research": _("Research use only. Not a medical device; not for diagnosis or treatment."),
    "page.subtitle": _("{cases} studies, {readers} readers with both sittings. Made {date}; protocol {digest}."),
    "page.table_title": _("Accuracy, confidence and time"),
    "page.table_note": _(
        "As table 8 of Wang et al., Medical Physics 2022: macro averages over labels, confidence 0 to 3, time in front "
        "of the images. Only studies that a reader has read in both sittings. All readers: means, times summed."
    ),
    "page.changes_title": _("With AI against without"),
    "page.changes_note": _(
        "Difference: with minus without, 95 % bootstrap interval over studies. Exact paired tests, two-sided; adjusted "
        "by Holm for all tests of this page. Pairs: studies that differ, of all. All readers: studies that each has "
        "read twice."
    ),
    "page.times_heading": _("Time per study"),
    "page.times_title": _("Time per study of {reader}, both sittings"),
    "page.confidence_title": _("Confidence"),
    "page.method_title": _("How it was measured"),
    "page.reader": _("Reader"),
    "page.pooled": _("All readers"),
    "page.ai_alone": _("AI alone"),
    "page.date": _("Begun"),
    "page.studies": _("Studies"),
    "page.total_time": _("Total time"),
    "page.time_per_study": _("Time per study"),
    "page.measure": _("Measure"),
    "page.difference": _("Difference"),
    "page.interval": _("95 % interval"),
    "page.p": _("p"),
    "page.adjusted_p": _("p, adjusted"),
    "page.pairs": _("Pairs"),
    "page.pairs_of": _("{differing} of {pairs}"),
    "page.statement": _("What it says"),
    "page.no_limits": _("too few studies"),
    "page.seconds_axis": _("seconds"),
    "measure.precision": _("Precision"),
    "measure.recall": _("Recall"),
    "measure.f_score": _("F1 score"),
    "measure.any_correct": _("Any haemorrhage read correctly"),
    "measure.all_correct": _("All labels read correctly"),
    "measure.seconds": _("Time per study (s)"),
    "measure.confidence": _("Confidence"),
    "caution.few_studies": _(
        "Few studies: {count} read in both sittings (fewer than {small}). Intervals are wide, and that no difference "
        "was found does not mean that there is none."
    ),
    "caution.one_reader": _("One reader: what is found holds for this reader alone."),
    "caution.readers": _("{count} readers: what is found holds for them, not for readers in general."),
    "caution.early": _("{participant} began the sitting with AI before the wash-out was over. Stated reason: {reason}"),
    "caution.left_out": _("{participant}: {count} studies were read in one sitting only, and are left out."),
    "caution.no_truth": _("No reference standard: accuracy is not stated."),
    "test.no_interval": _("Too few studies to say anything."),
    "test.interval_excludes": _("The interval does not hold 0; no test was made."),
    "test.interval_includes": _("The interval holds 0: no difference is shown."),
    "test.nothing_differs": _("All {pairs} studies are alike in both sittings: there is nothing to test."),
    "test.too_few": _(
        "Too few: {differing} studies differ, and no outcome could have a p value below {smallest}. No statement."
    ),
    "test.significant": _("Differs at 5 %, also after the adjustment."),
    "test.only_unadjusted": _("Below 5 % alone, not after the adjustment: may be chance."),
    "test.not_significant": _("No difference is shown; that is no proof that there is none."),
    "method.design": _(
        "Each reader read the same studies twice, first alone, then with the result, in orders drawn independently, "
        "with a wash-out of {weeks} weeks (Wang et al., section VI.B). Without AI always came first: what readers "
        "learned meanwhile counts for the AI."
    ),
    "method.time": _(
        "Time runs from the first image to the reader's button, and stands still while the window is not in front or "
        "the reader pauses; rating is not part of it. A crash costs at most the last second."
    ),
    "method.accuracy": _(
        "A label's precision is 0 where it was never ticked. Labels that the studies show: {labels}. Of the others "
        "nothing can be recalled, and they are not in the averages."
    ),
    "method.tests": _(
        "Correct or not: McNemar's exact test. Time and confidence: Wilcoxon's signed rank test, exact, ties by "
        "midranks, equal pairs left out."
    ),
    "method.intervals": _("Intervals: 2000 resamples of studies, both sittings of a study together; percentiles."),
    "method.pooled": _(
        "All readers: a study's value is the mean over readers, and studies are what is resampled and tested (for "
        "correct or not: how many readers more were right, by exact sign flips). Readers are not resampled."
    ),
    # The reader study in the panel
    "study.ready": _("{cases} studies, wash-out {weeks} weeks. Readers so far: {readers}."),
    "study.no_readers": _("none"),
    "study.made": _("Reader study with {cases} studies made."),
    "study.next_with_ai": _("{participant}: sitting with AI from {earliest} on."),
    "study.progress": _("{participant}: {done} of {count} studies read {sitting}."),
    "study.busy": _("Wait until the analysis has ended."),
    "study.scene_not_empty": _("Save and close the scene first: a sitting begins with an empty one."),
    "study.checking": _("Checking case {position} of {count}"),
    "study.computing": _("Computing results: {done} of {count} studies"),
    "study.computed": _("Every study has its result."),
    "study.not_all_computed": _("{count} studies have no result: {name}: {reason}"),
    "study.cancelled": _("Cancelled."),
    "study.interrupted": _("Interrupted. It goes on at the same study, with its time."),
    "study.finished": _("{participant} has read all {count} studies {sitting}. Thank you."),
    "study.evaluated": _("The evaluation is in {folder}."),
    "reading.title": _("{participant} · {sitting} · study {position} of {count}"),
    "reading.running": _("The time runs. Tick what you find, then press Finished."),
    "reading.paused": _("Paused: the time stands still."),
    "reading.rate": _("The time has stopped. How certain are you?"),
    "reading.next": _("Saved. The time runs when the next study is in view."),
    "reading.level": _("{level}: {name}"),
    "reading.pause": _("Pause"),
    "reading.continue": _("Continue"),
    "reading.volume": _("Study {position}"),
    "reading.no_report": _("The report cannot be shown: {error}"),
    # Opening a study again, from the history or the worklist
    "open.unknown": _("The CT of {study} is not loaded, and it is not known where it lies: load it, then try again."),
    "open.gone": _("The CT of {study} is no longer at {place}: load it from where it is now, then try again."),
    "open.not_in_folder": _("{place} does not hold the CT of {study} any more: load it from where it is now."),
    "open.incomplete": _(
        "Of the {count} images of {study}, {place} holds {found}: load the whole series, then try again."
    ),
    "open.unreadable": _("The CT of {study} at {place} cannot be read: {error}"),
    "urgency.likely": _("Haemorrhage likely"),
    "urgency.possible": _("Possible"),
    "urgency.other": _("Other finding"),
    "urgency.unread": _("Not read"),
    "urgency.negative": _("No finding"),
    "worklist.listed": _(
        "{count} studies of {folder}, the most urgent first: a network's estimate, research use only."
    ),
    "worklist.cut": _("The first {shown} are listed here; the page in the browser has all of them."),
    "worklist.opened": _("{study} is open: its findings are above."),
    "worklist.no_result": _("{study} has no result: {reason}"),
    "worklist.from_archive": _(
        "The CT of {study} came from an archive and is not on this computer: fetch it into the DICOM database of "
        "3D Slicer, then open the row again."
    ),
    # Two time points of one patient
    "patient.name": _("Name: {value}"),
    "patient.id": _("Patient ID: {value}"),
    "patient.sex": _("Sex: {value}"),
    "patient.birth_date": _("Born: {value}"),
    "patient.study_date": _("Study of {value}"),
    "patient.none": _("The loaded volume states no patient attributes."),
    "compare.choose_two": _("Choose two analyses of one patient: click one, then the other with Ctrl."),
    "compare.same_volume": _("Both analyses are of the same volume: choose two studies."),
    "compare.other_patient": _("The two volumes state different patient IDs: they are not compared."),
    "compare.patient_unknown": _("The volumes do not state whose they are: make sure that both are of one patient."),
    "compare.not_evaluable": _("{study} could not be evaluated: there is nothing to compare."),
    "compare.dates_unknown": _("The volumes state no date: the first to be analysed is called earlier."),
    "compare.other_model": _("Made by different models or thresholds: a change may come from those."),
    "compare.by_head_top": _(
        "Not registered: slices are aligned by the top of the head alone. Adjust one view with linking off."
    ),
    "compare.no_head_top": _(
        "Not registered, and the top of the head was not found in both: scroll to like slices, then link."
    ),
    "compare.new": _("new"),
    "compare.gone": _("no longer positive"),
    "compare.both": _("positive in both"),
    "compare.neither": _("negative in both"),
    "compare.near_threshold": _("{change}, close to the threshold"),
    "compare.not_known": _("not in both"),
    "compare.larger": _("larger"),
    "compare.smaller": _("smaller"),
    "compare.within_limits": _("within the limits: no change shown"),
    "compare.no_limits": _("limits not measured: no statement"),
    "compare.not_stated": _("stated in one of them only: no statement"),
    "compare.volume": _("{ml} ml"),
    "compare.volume_limits": _("{ml} ml ({low} to {high})"),
    "compare.none_stated": _("none stated"),
    "compare.difference_ml": _("{sign}{ml} ml, {change}"),
    "compare.view_earlier": _("earlier: {name}"),
    "compare.view_later": _("later: {name}"),
    # History
    "history.not_opened": _("The history cannot be opened: {error}"),
    "history.not_usable": _("The history cannot be read or written: {error}"),
    "history.newer": _("The history was written by a newer version of ICHDiagnosis: update the extension"),
    "history.damaged": _("The history was damaged and a new one was begun; the old file is kept as {name}"),
    "history.entry": _("Entry {number} of the history cannot be read: {error}"),
    "history.shown_by_name": _("Shown on the loaded volume of the same name: make sure that it is the same study."),
    "history.report_opened": _("{reason} The report was opened instead."),
    "history.forgotten": _("Forgotten. Its results stay in {folder}."),
    # Where a study stands
    "status.waiting": _("Waiting"),
    "status.running": _("Running"),
    "status.evaluated": _("Evaluated"),
    "status.not_evaluable": _("Not evaluable"),
    "status.failed": _("Failed"),
    "status.cancelled": _("Cancelled"),
}


def study_text(code: str) -> str:
    """Return a text in the language of the application, its placeholders unfilled.

    Slicer looks for a translation in the context of the file that asks: the one in which the text stands.
    """
    i18n = sys.modules.get("slicer.i18n")
    text = STUDY_CATALOGUE[code]
    return str(text if i18n is None else i18n.tr(text))
