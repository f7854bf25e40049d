"""Mutations of a study: one function each, from a generator of random numbers and a folder to the files in it."""

from __future__ import annotations

import os
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pydicom
from pydicom import config
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import RLELossless, generate_uid

from research.fuzz.files import GRID, Head, save_nifti, save_nrrd, save_series, slice_datasets

Mutation = Callable[[random.Random, tuple[Head, Head], Path], None]

_ODD_VALUES: dict[str, tuple[object, ...]] = {
    "SeriesNumber": ("4.5", "2A", "", "99999999999999999999"),
    "AcquisitionNumber": ("1.5", "", "7"),
    "SliceThickness": ("5.0 mm", "5,0", "", "0", "-5"),
    "ConvolutionKernel": ("H70h", "", "BONE"),
    "ContrastBolusAgent": ("NO CONTRAST", "N/A", "Iohexol"),
    "KVP": ("120kV", "", "80"),
    "ImageType": ("DERIVED\\SECONDARY", "ORIGINAL\\PRIMARY\\LOCALIZER", "DERIVED\\PRIMARY\\MIP", ""),
    "RescaleType": ("US", "HU_MOD", ""),
    "RescaleIntercept": ("-1000", "0", "", "nan"),
    "RescaleSlope": ("2", "0", ""),
    "PatientID": ("", "THREE"),
    "FrameOfReferenceUID": ("", "1.2.9"),
    "StudyInstanceUID": ("", "1.2.9"),
    "SeriesInstanceUID": ("", "1.2.9"),
    "SOPInstanceUID": ("", "1.2.9"),
    "PixelSpacing": ("3.2", "6.4\\6.4", "1\\1", "0\\0", ""),
    "ImagePositionPatient": ("0\\0\\0", "", "a\\b\\c"),
    "ImageOrientationPatient": ("1\\0\\0\\0\\0\\-1", "1\\0\\0\\0\\1\\0", ""),
    "PhotometricInterpretation": ("MONOCHROME1", "RGB"),
    "BitsStored": (12, 8),
    "PixelRepresentation": (1,),
    "Rows": (71, 36, 0),
    "Columns": (71, 36, 0),
    "BitsAllocated": (8, 32),
    "NumberOfFrames": ("2", "0"),
    "Modality": ("MR", ""),
}


def header_byte(generator: random.Random, heads: tuple[Head, Head], folder: Path) -> None:
    """Change one byte before the pixels of one file."""
    paths = save_series(folder, slice_datasets(heads[0]))
    raw = bytearray((path := generator.choice(paths)).read_bytes())
    raw[generator.randrange(132, len(raw) - heads[0].voxels[0].nbytes)] = generator.randrange(256)
    path.write_bytes(raw)


def header_value(generator: random.Random, heads: tuple[Head, Head], folder: Path) -> None:
    """Give an attribute an odd value in one file, in a run of files, or in all."""
    keyword = generator.choice(sorted(_ODD_VALUES))
    value = generator.choice(_ODD_VALUES[keyword])
    datasets = slice_datasets(heads[0])
    first = generator.randrange(len(datasets))
    changed = generator.choice([datasets, datasets[first : first + 1], datasets[first:]])
    with config.disable_value_validation():
        for dataset in changed:
            _set(dataset, keyword, value)
        save_series(folder, datasets)


def _set(dataset: Dataset, keyword: str, value: object) -> None:
    if value == "":
        if keyword in dataset:
            delattr(dataset, keyword)
    else:
        tag = Tag(keyword)
        representation = dictionary_VR(tag)
        raw = _raw(representation, value)
        dataset[tag] = RawDataElement(tag, representation, len(raw), raw, 0, False, True)


def _raw(representation: str, value: object) -> bytes:
    return value.to_bytes(2, "little") if representation == "US" and isinstance(value, int) else str(value).encode()


def cut_file(generator: random.Random, heads: tuple[Head, Head], folder: Path) -> None:
    """Cut off, empty or overwrite the beginning of some files."""
    paths = save_series(folder, slice_datasets(heads[0]), generator.choice(["IM{:04d}.dcm", "IM{:04d}"]))
    for path in generator.sample(paths, generator.choice([1, 1, 3, 6])):
        raw = path.read_bytes()
        path.write_bytes(
            generator.choice([raw[: generator.randrange(len(raw))], b"", bytes(200) + raw[200:], raw[132:]])
        )


def compressed_byte(generator: random.Random, heads: tuple[Head, Head], folder: Path) -> None:
    """Flip a bit of a compressed volume: NIfTI, NRRD, or a zip of DICOM files."""
    kind = generator.choice(["nifti", "nrrd", "zip"])
    if kind == "nifti":
        path = save_nifti(heads[0], folder / "ct.nii.gz")
    elif kind == "nrrd":
        path = save_nrrd(heads[0], folder / "ct.nrrd")
    else:
        path = _zip(save_series(folder / "unpacked", slice_datasets(heads[0])), folder / "ct.zip")
        shutil.rmtree(folder / "unpacked")
    raw = bytearray(path.read_bytes())
    raw[generator.randrange(12, len(raw))] ^= 1 << generator.randrange(8)
    path.write_bytes(raw)


def volume_header(generator: random.Random, heads: tuple[Head, Head], folder: Path) -> None:
    """Change one byte of a NIfTI header, or one letter of an NRRD header."""
    if generator.random() < 0.5:
        path, last, values = save_nifti(heads[0], folder / "ct.nii"), 348, range(256)
    else:
        path = save_nrrd(heads[0], folder / "ct.nrrd", "raw")
        last, values = path.read_bytes().index(b"\n\n"), range(32, 127)
    raw = bytearray(path.read_bytes())
    raw[generator.randrange(4, last)] = generator.choice(values)
    path.write_bytes(raw)


def removed(generator: random.Random, heads: tuple[Head, Head], folder: Path) -> None:
    """Remove files: one, some, or all at one end of the head."""
    paths = save_series(folder, slice_datasets(heads[0]))
    count = generator.randrange(1, 12)
    ends = (paths[:count], paths[-count:], generator.sample(paths, min(count, 4)))
    for path in generator.choice(ends):
        path.unlink()


def added(generator: random.Random, heads: tuple[Head, Head], folder: Path) -> None:
    """Add what is no slice: text, a false DICOM file, a viewer's zip, a pipe, a link in a circle, a localizer."""
    save_series(folder / "DICOM", slice_datasets(heads[0]))
    kinds = ["text", "false", "zip", "pipe", "circle", "localizer", "segmentation"]
    for kind in generator.sample(kinds, generator.randrange(1, 4)):
        if kind == "text":
            (folder / "DICOM" / "readme.txt").write_text("Dear colleague", encoding="utf-8")
        elif kind == "false":
            (folder / "DICOM" / "note.dcm").write_bytes(generator.randbytes(3000))
        elif kind == "zip":
            with zipfile.ZipFile(folder / "DICOM" / "viewer.zip", "w") as archive:
                archive.writestr("viewer.exe", b"MZ")
        elif kind == "pipe":
            os.mkfifo(folder / "DICOM" / "pipe.dcm")
        elif kind == "circle":
            (folder / "DICOM" / "again").symlink_to(folder, target_is_directory=True)
        elif kind == "localizer":
            (dataset, *_) = slice_datasets(heads[0], series="1.2.3.7", number=1)
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
            save_series(folder / "DICOM", [dataset], "localizer.dcm")
        else:
            save_nrrd(heads[0], folder / "DICOM" / "ct.seg.nrrd")


def doubled(generator: random.Random, heads: tuple[Head, Head], folder: Path) -> None:
    """Copy some files or all, under other names, in another folder, with other instance UIDs, or changed."""
    paths = save_series(folder / "DICOM", slice_datasets(heads[0]))
    (folder / "backup").mkdir()
    new_uid, change = generator.random() < 0.4, generator.random() < 0.3
    for path in generator.sample(paths, generator.choice([1, 4, len(paths)])):
        dataset = pydicom.dcmread(path)
        if new_uid:
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid(
                entropy_srcs=[str(path)]
            )
        if change:
            values = bytearray(dataset.PixelData)
            values[generator.randrange(len(values))] ^= 32
            dataset.PixelData = bytes(values)
        dataset.save_as(folder / "backup" / path.name)


def mixed(generator: random.Random, heads: tuple[Head, Head], folder: Path) -> None:
    """Mix in another patient's, another kernel's, contrast's or time's slices, between the first or at their places."""
    first, second = (slice_datasets(head) for head in heads)
    shift = generator.choice([0.0, 0.5, 0.5, 0.25]) * GRID.spacing[2]
    same_patient = generator.random() < 0.6
    difference = generator.choice(["kernel", "contrast", "acquisition", "time", "series", "thickness", "nothing"])
    for dataset in second:
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y, f"{float(z) + shift:.6f}"]
        if same_patient:
            dataset.PatientID, dataset.PatientName = heads[0].name, f"PHANTOM^{heads[0].name}"
        if difference == "kernel":
            dataset.ConvolutionKernel = "H60s"
        elif difference == "contrast":
            dataset.ContrastBolusAgent = "Iohexol"
        elif difference == "acquisition":
            dataset.AcquisitionNumber = 2
        elif difference == "time":
            dataset.AcquisitionTime = "101500"
        elif difference == "series":
            dataset.SeriesInstanceUID = "1.2.3.2"
        elif difference == "thickness":
            dataset.SliceThickness = "3"
    start = generator.choice([0, 0, 6])
    save_series(folder, first, "A{:04d}.dcm")
    save_series(folder, second[start:], "B{:04d}.dcm")


def damaged_pixels(generator: random.Random, heads: tuple[Head, Head], folder: Path) -> None:
    """Compress slices; cut off some of the compressed data, or state another size than it has."""
    datasets = slice_datasets(heads[0])
    for dataset in datasets:
        dataset.compress(RLELossless)
    if generator.random() < 0.4:
        keyword, value = generator.choice([("Rows", 71), ("Rows", 73), ("Columns", 71), ("BitsAllocated", 8)])
        for dataset in datasets:
            setattr(dataset, keyword, value)
        save_series(folder, datasets)
        return
    for path in generator.sample(save_series(folder, datasets), 2):
        raw = bytearray(path.read_bytes())
        del raw[len(raw) - generator.randrange(1, 2000) :]
        path.write_bytes(raw)


def repacked(generator: random.Random, heads: tuple[Head, Head], folder: Path) -> None:
    """Pack a study as zip, NIfTI or NRRD, whole or cut off."""
    kind = generator.choice(["zip", "nii", "nii.gz", "nrrd"])
    path = folder / f"ct.{kind}"
    if kind == "zip":
        _zip(save_series(folder / "unpacked", slice_datasets(heads[0])), path)
        shutil.rmtree(folder / "unpacked")
    elif kind == "nrrd":
        save_nrrd(heads[0], path)
    else:
        save_nifti(heads[0], path)
    if generator.random() < 0.7:
        raw = path.read_bytes()
        path.write_bytes(raw[: generator.randrange(len(raw))])


def _zip(files: list[Path], path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, file.name)
    return path


MUTATIONS: dict[str, Mutation] = {
    mutation.__name__: mutation
    for mutation in (
        *(header_byte, header_value, cut_file, compressed_byte, volume_header, removed, added, doubled, mixed),
        *(damaged_pixels, repacked),
    )
}
