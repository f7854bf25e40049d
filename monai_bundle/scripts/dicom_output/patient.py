"""Patient and study of the source in the finished object, copied as they are: nothing invented, nothing left out."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.valuerep import DA, TM

_DEIDENTIFICATION = "LongitudinalTemporalInformationModified"
"""Beside those of the Patient module: Patient Identity Removed (0012,0062), De-identification Method (0012,0063)."""

_UTF_8 = "ISO_IR 192"
_LIBRARIES = {"fontTools", "fpdf", "highdicom", "pydicom"}


@contextmanager
def silence() -> Iterator[None]:
    """Keep what the libraries report out of log and console: their texts quote the patient's attributes."""
    loggers = [
        logger
        for name, logger in logging.root.manager.loggerDict.items()
        if name.split(".")[0] in _LIBRARIES and isinstance(logger, logging.Logger) and not logger.disabled
    ]
    try:
        for logger in loggers:
            logger.disabled = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger in loggers:
            logger.disabled = False


def complete(instance: hd.SOPClass, source: Dataset, written: datetime) -> None:
    """Give a finished object the patient and the study of its source, and its date.

    Parameters
    ----------
    instance : SOPClass
        Made from images without a patient; changed in place.
    source : Dataset
        Header of an original image, its text decoded. Of it, the modules Patient, Clinical Trial Subject, General
        Study, Patient Study and Clinical Trial Study are copied (PS3.3 C.7.1 to C.7.2), and that it was de-identified.
    written : datetime
        Date of the content: when the result was written.
    """
    instance.copy_patient_and_study_information(source)
    if _DEIDENTIFICATION in source:
        instance[_DEIDENTIFICATION] = source[_DEIDENTIFICATION]
    # One character set holds every name and every text of ours; ASCII stays as it was.
    instance.SpecificCharacterSet = _UTF_8
    date, time = DA(written.strftime("%Y%m%d")), TM(written.strftime("%H%M%S"))
    instance.InstanceCreationDate, instance.InstanceCreationTime = date, time
    instance.ContentDate, instance.ContentTime = date, time
    for equipment in instance.get("ContributingEquipmentSequence", ()):
        equipment.ContributionDateTime = written.strftime("%Y%m%d%H%M%S")
