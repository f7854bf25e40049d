"""The MONAI engine of inference: one study in, one result folder out, and no study's own fault stops the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from scripts.calibration import ANY, Calibration, identity
from scripts.diagnosis import AttributionMap, Diagnosis, Finding, ModelIdentity, Refusal, SliceResult
from scripts.dicom_output.request import FOLDER as DICOM_FOLDER
from scripts.dicom_output.request import DicomOutputError, require_packages
from scripts.explanation.lesion_volumes import LesionSettings, measure_lesions
from scripts.explanation.maps import StoredMap, attention_map, key_slice_ranks
from scripts.explanation.saliency import saliency_kind
from scripts.inferer import StudyInferer, StudyReading
from scripts.intake.discovery import StudySource
from scripts.intake.study import CTStudy, IntakeError, NotEvaluableError
from scripts.labels import Label
from scripts.messages import ENGLISH, ExpectedError, Translation, message
from scripts.networks.study_network import StudyNetwork
from scripts.operating_points import DEFAULT_THRESHOLD, prevalence_shift
from scripts.output.folder import OutputError, OutputFolderError
from scripts.output.result import write_refusal_folder, write_result_folder
from scripts.progress import Progress
from scripts.reading_geometry import ReadingGeometry

logger = logging.getLogger(__name__)


class StudyDataset(Dataset):
    """Studies to evaluate; one that cannot be used becomes an entry with a ``refusal`` instead of an exception.

    Parameters
    ----------
    data : sequence of StudySource
        From :func:`scripts.intake.discovery.find_studies`.
    transform : callable
        The preprocessing; its first transform reads ``image``.
    """

    def __init__(self, data: Sequence[StudySource], transform: Callable[[Any], Any]) -> None:
        super().__init__(data, transform)
        self.progress = Progress(studies=len(data))

    def _transform(self, index: int) -> dict[str, Any]:
        source: StudySource = self.data[index]
        self.progress.begin_study()
        self.progress.report("reading", 0)
        try:
            entry: dict[str, Any] = self.transform({"image": source})
        except Exception as error:
            entry = {"refusal": _intake_error_behind(error) or _unforeseen(source, error)}
        return entry | {"source": source}


def _intake_error_behind(error: BaseException | None) -> IntakeError | None:
    """Find the named error that MONAI's transforms wrap into a RuntimeError."""
    while error is not None and not isinstance(error, IntakeError):
        error = error.__cause__
    return error


def _unforeseen(source: StudySource, error: Exception) -> NotEvaluableError:
    """Return the refusal of a study that fails in a way that nobody foresaw; the traceback goes to the log alone."""
    logger.error("%s: unforeseen error", source.study_id, exc_info=error)
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    fault = f"{type(cause).__name__}: {' '.join(str(cause).split())[:200]}"
    return NotEvaluableError("unforeseen_error", name=source.source_name, fault=fault)


def study_loader(dataset: StudyDataset) -> DataLoader:
    """Load one study after the other in this process: workers hang in 3D Slicer, whose executable is a launcher."""
    return DataLoader(dataset, batch_size=1, num_workers=0, collate_fn=_only_study)


def _only_study(batch: list[dict[str, Any]]) -> dict[str, Any]:
    return batch[0]


@dataclass(frozen=True)
class Reader:
    """Who reads, with which vocabulary, operating point and lesion threshold: the constant part of every diagnosis.

    ``dicom_output`` asks for DICOM objects in each result folder (:mod:`scripts.dicom_output`); a study that was not
    read from DICOM, or that no object can refer to, has a result without. ``unanswered`` names labels that the network
    has an output for but never learnt: a result holds no finding, no map and no slice's probability of them.
    """

    model: ModelIdentity
    labels: tuple[Label, ...]
    operating_point: str
    thresholds: tuple[float | None, ...]
    calibration: Calibration
    key_slices: int = 5
    language: str = ENGLISH
    lesions: LesionSettings = field(default_factory=LesionSettings)
    draw_negative_maps: bool = False
    prevalence: Mapping[str, float] | None = None
    dicom_output: bool = False
    unanswered: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that model, labels and thresholds belong together, and that texts and packages are there."""
        Translation(self.language)
        if self.dicom_output:
            require_packages()
        if self.model.labels != tuple(label.key for label in self.labels):
            raise ValueError(f"the model's labels {self.model.labels} are not those of the configured vocabulary")
        if not len(self.thresholds) == len(self.calibration.slope) == len(self.labels):
            raise ValueError("one threshold and one calibration per label are needed")
        prevalence_shift(self.calibration, self.prevalence)

    def findings(self, logits: ArrayLike) -> tuple[Finding, ...]:
        """Return a finding per label from uncalibrated logits, shape (labels,).

        A prevalence moves probabilities and thresholds alike: it changes what a probability means, not who is positive.
        """
        shift = np.asarray(prevalence_shift(self.calibration, self.prevalence))
        calibrated = logit(self.calibration.apply(logits)) + shift
        chosen = [DEFAULT_THRESHOLD if threshold is None else threshold for threshold in self.thresholds]
        limits = [
            float(expit(logit(limit) + move)) if move else limit for limit, move in zip(chosen, shift, strict=True)
        ]
        return tuple(
            Finding(label, float(expit(value)), limit, default_threshold=threshold is None)
            for label, value, limit, threshold in zip(self.labels, calibrated, limits, self.thresholds, strict=True)
            if self.answers(label.key)
        )

    def answers(self, key: str) -> bool:
        """Return whether the network learnt a label."""
        return key not in self.unanswered


class StudyEvaluator(SupervisedEvaluator):
    """Evaluates studies one by one and writes their result folders.

    Parameters
    ----------
    device : torch.device
        Where the network runs.
    val_data_loader : DataLoader
        From :func:`study_loader`.
    network : StudyNetwork
        With its weights.
    inferer : StudyInferer
        How a study is read and explained.
    reader : Reader
        Labels, thresholds and the model's identity.
    output_dir : path
        Result folders are written here.
    progress : Progress
        The dataset's, which begins each study.
    val_handlers : sequence, optional
        MONAI handlers.
    """

    def __init__(
        self,
        device: torch.device,
        val_data_loader: DataLoader,
        network: StudyNetwork,
        inferer: StudyInferer,
        reader: Reader,
        output_dir: str | Path,
        progress: Progress,
        val_handlers: Sequence[Any] | None = None,
    ) -> None:
        super().__init__(
            device=device,
            val_data_loader=val_data_loader,
            network=network,
            inferer=inferer,
            val_handlers=val_handlers,
            decollate=False,
        )
        self.reader = reader
        self.output_dir = Path(output_dir)
        self.study_network = network
        self.study_inferer = inferer
        self.progress = progress
        self.diagnoses: list[str] = []
        self.refusals: list[Refusal] = []
        self.failures: list[str] = []

    def _iteration(self, engine: SupervisedEvaluator, batchdata: dict[str, Any]) -> dict[str, Any]:
        source: StudySource = batchdata["source"]
        try:
            if "refusal" in batchdata:
                self._refuse(source, batchdata["refusal"])
            else:
                self._evaluate(source, batchdata)
        except OutputFolderError:
            raise
        except OutputError as error:
            logger.error("%s: no result: %s", source.study_id, error)
            self.failures.append(source.study_id)
        except IntakeError as error:
            self._refuse(source, error)
        except (ExpectedError, torch.cuda.OutOfMemoryError):
            # Of the run, not of this study.
            raise
        except Exception as error:
            # A fault of the program, not of the study: no result is better than one that calls the study unreadable.
            logger.error("%s: no result: unforeseen error", source.study_id, exc_info=error)
            self.failures.append(source.study_id)
        self.progress.finish_study()
        return {}

    def _refuse(self, source: StudySource, error: IntakeError) -> None:
        code = error.code if isinstance(error, NotEvaluableError) else "unreadable"
        identity = (source.study_id, source.source_name, code, error.message, self.reader.model)
        refusal = Refusal(*identity, error.series_choice)
        logger.warning("%s: not evaluable: %s", source.study_id, error)
        write_refusal_folder(refusal, self.output_dir, self.reader.language)
        self.refusals.append(refusal)

    def _evaluate(self, source: StudySource, entry: dict[str, Any]) -> None:
        reading: StudyReading = self.study_inferer(entry, self.study_network, report=self.progress.report)
        self.progress.report("maps", 90)
        diagnosis = self._diagnosis(source.study_id, entry, reading)
        self.progress.report("writing", 95)
        further = partial(self._add_dicom_objects, source) if self.reader.dicom_output else None
        folder = write_result_folder(diagnosis, self.output_dir, self.reader.language, further)
        self.diagnoses.append(source.study_id)
        logger.info("%s: evaluated, report in %s", source.study_id, folder.name)

    def _add_dicom_objects(self, source: StudySource, folder: Path) -> None:
        """Write the objects into a result folder that is not yet in its place; what hinders them is no fault of it."""
        from scripts.dicom_output.export import dicom_files, write_files  # noqa: PLC0415 - optional packages
        from scripts.dicom_output.finished_result import read_finished  # noqa: PLC0415

        try:
            files = dicom_files(read_finished(folder), source.headers, self.reader.language)
        except DicomOutputError as error:
            logger.warning(message("dicom_output.skipped", study_id=source.study_id, reason=error.message))
        else:
            write_files(files, folder / DICOM_FOLDER)

    def _diagnosis(self, study_id: str, entry: dict[str, Any], reading: StudyReading) -> Diagnosis:
        study: CTStudy = entry["study"]
        head, geometry, reader = entry["head"], entry["geometry"], self.reader
        lesions = None
        if reading.lesions is not None:
            lesions = measure_lesions(reading.lesions, study, reader.labels, reader.lesions)
        attention = geometry.divide_among_original(reading.slice_attention)
        ranks = key_slice_ranks(reading.slice_attention, geometry, reader.key_slices)
        maps = [_evidence("attention", None, attention_map(attention, head))]
        if reading.feature_attention is not None:
            maps.append(_evidence("feature_attention", None, reading.feature_attention))
        if reading.saliency is not None:
            maps.append(_evidence(saliency_kind(reader.model.trained_on), None, reading.saliency))
        for label, stored in zip(reader.labels, reading.label_maps, strict=True):
            if reader.answers(label.key):
                maps.append(_evidence(self.study_inferer.method, label, stored))
        return Diagnosis(
            study_id=study_id,
            study=study,
            head=head,
            # Through the probability: the mean over samples is one of probabilities.
            findings=reader.findings(reading.probabilities.double().logit(eps=1e-7).numpy()),
            slices=tuple(
                SliceResult(index, float(position), float(share), ranks.get(index), of_labels)
                for index, (position, share, of_labels) in enumerate(
                    zip(study.positions_mm, attention, _slice_labels(reading, geometry, reader), strict=True)
                )
            ),
            maps=tuple(maps),
            input_slices=geometry.slabs,
            model=reader.model,
            operating_point=reader.operating_point,
            device=str(self.state.device),
            precision=reading.precision,
            mirrored_views=reading.mirrored_views,
            seconds={stage: round(seconds, 3) for stage, seconds in self.progress.times().items()},
            lesions=lesions,
            draw_negative_maps=reader.draw_negative_maps,
            prevalence=dict(reader.prevalence or {}),
        )


def _slice_labels(reading: StudyReading, geometry: ReadingGeometry, reader: Reader) -> list[dict[str, float] | None]:
    """Return each original slice's probabilities by the key of their label; None where nothing is known of it."""
    if reading.slice_probabilities is None:
        return [None] * geometry.original_shape[0]
    calibration = reader.calibration.slices or identity([label.key for label in reader.labels])
    probabilities = calibration.apply(reading.slice_probabilities.double().logit(eps=1e-7).numpy())
    if calibration.keys[0] == ANY:
        # Each label has a line of its own, and no subtype is likelier than any haemorrhage.
        probabilities = np.minimum(probabilities, probabilities[:, :1])
    return [
        None
        if values is None
        else {key: value for key, value in zip(calibration.keys, values.tolist(), strict=True) if reader.answers(key)}
        for values in geometry.repeat_on_original(torch.from_numpy(probabilities))
    ]


def _evidence(kind: str, label: Label | None, stored: StoredMap) -> AttributionMap:
    return AttributionMap(kind, label, stored.voxels, stored.scale, stored.fixed_scale, stored.largest)
