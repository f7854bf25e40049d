"""NRRD files are read as ITK reads them, value by value and millimetre by millimetre, without ITK being needed."""

from __future__ import annotations

import bz2
import gzip
import subprocess
import sys
from pathlib import Path

import itk
import numpy as np
import pytest
from numpy.typing import NDArray

from scripts.intake.nrrd_volume import load_nrrd
from scripts.intake.slice_geometry import LPS_TO_RAS
from scripts.intake.study import NotEvaluableError

ROOT = Path(__file__).resolve().parents[2]
VOXELS = np.random.default_rng(4).integers(0, 100, size=(3, 4, 5))
OBLIQUE = "space directions: (0.8,0.1,-0.3) (-0.2,1.6,0.4) (0.5,1.5,5)\nspace origin: (1,-2,3.5)\n"
GEOMETRIES = {
    "none": "",
    "spacings": "spacings: 3 2 5\n",
    "left-handed": "spacings: -3 2 5\n",
    "corner": "spacings: 3 2 5\naxis mins: 1 2 3\n",
    "lps": "space: left-posterior-superior\n" + OBLIQUE,
    "ras": "space: RAS\n" + OBLIQUE,
    "las": "space: left-anterior-superior\n" + OBLIQUE,
    "capitals": "space: Right-Anterior-Superior\n" + OBLIQUE,
    "scanner": "space: scanner-xyz\n" + OBLIQUE,
    "dimension": "space dimension: 3\n" + OBLIQUE,
    "no origin": "space: LPS\n" + OBLIQUE.partition("space origin")[0],
    "no directions": "space: RAS\n",
}
CONTRADICTIONS = {
    "no space": OBLIQUE,
    "spacings in a space": "space: LPS\nspacings: 3 2 5\n",
    "both": "space: RAS\n" + OBLIQUE + "spacings: 1 1 1\n",
}
KINDS = {"short": "<i2", "unsigned short": "<u2", "uchar": "u1", "int": "<i4", "float": "<f4", "double": "<f8"}


def write(path: Path, geometry: str, kind: str = "short", encoding: str = "raw", big: bool = False) -> Path:
    dtype = np.dtype(KINDS[kind]).newbyteorder(">" if big else "<")
    raw = VOXELS.astype(dtype).tobytes(order="F")
    text = " ".join(map(str, VOXELS.ravel(order="F"))).encode()
    data = {"raw": raw, "gzip": gzip.compress(raw), "bzip2": bz2.compress(raw), "ascii": text}[encoding]
    header = f"NRRD0005\ntype: {kind}\ndimension: 3\nsizes: 3 4 5\nencoding: {encoding}\n"
    # Teem wants the space before what is stated in it.
    space, _, rest = geometry.partition("\n") if geometry.startswith("space:") else ("", "", geometry)
    header = header.replace("sizes", f"{space}\nsizes") if space else header
    header += f"endian: {'big' if big else 'little'}\n{rest}\n"
    path.write_bytes(header.encode() + data)
    return path


def by_itk(path: Path) -> tuple[NDArray[np.generic], NDArray[np.float64], bool]:
    information = itk.NrrdImageIO.New(FileName=str(path))
    information.ReadImageInformation()
    image = itk.imread(str(path))
    affine = np.eye(4)
    direction = itk.array_from_matrix(image.GetDirection())
    affine[:3, :3] = LPS_TO_RAS @ direction @ np.diag(np.asarray(image.GetSpacing()))
    affine[:3, 3] = LPS_TO_RAS @ np.asarray(image.GetOrigin())
    fields = information.GetMetaDataDictionary()
    space = fields["NRRD_space"] if fields.HasKey("NRRD_space") else ""
    return itk.array_from_image(image).T, affine, space.startswith("left-posterior-superior")


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_geometry_is_read_as_itk_reads_it(tmp_path: Path, geometry: str):
    path = write(tmp_path / "ct.nrrd", GEOMETRIES[geometry])
    array, affine, names_sides = by_itk(path)
    found = load_nrrd(path)
    np.testing.assert_array_equal(found.array, array)
    np.testing.assert_allclose(found.affine, affine, atol=1e-6)
    assert found.names_sides == names_sides


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("encoding", ["raw", "gzip", "ascii"])
@pytest.mark.parametrize("kind", KINDS)
def test_values_are_read_as_itk_reads_them(tmp_path: Path, kind: str, encoding: str, big: bool):
    path = write(tmp_path / "ct.nrrd", GEOMETRIES["lps"], kind, encoding, big)
    np.testing.assert_array_equal(load_nrrd(path).array, by_itk(path)[0])


@pytest.mark.parametrize("geometry", CONTRADICTIONS)
def test_geometry_that_contradicts_itself_is_refused_as_itk_refuses_it(tmp_path: Path, geometry: str):
    path = write(tmp_path / "ct.nrrd", CONTRADICTIONS[geometry])
    with pytest.raises(RuntimeError):
        by_itk(path)
    with pytest.raises(ValueError, match="space"):
        load_nrrd(path)


def test_bzip2_which_itk_does_not_read_is_read(tmp_path: Path):
    path = write(tmp_path / "ct.nrrd", GEOMETRIES["lps"], encoding="bzip2")
    np.testing.assert_array_equal(load_nrrd(path).array, VOXELS)


def test_a_detached_file_is_read_and_what_lies_behind_its_voxels_passed_over(tmp_path: Path):
    path = write(tmp_path / "ct.nrrd", GEOMETRIES["lps"])
    header, _, data = path.read_bytes().partition(b"\n\n")
    (tmp_path / "ct.raw").write_bytes(data + b"behind")
    (tmp_path / "ct.nhdr").write_bytes(header + b"\ndata file: ct.raw\n\n")
    np.testing.assert_array_equal(load_nrrd(tmp_path / "ct.nhdr").array, VOXELS)


@pytest.mark.parametrize(("values", "refused"), [(1, False), (3, True)])
def test_voxels_of_several_values_are_refused(tmp_path: Path, values: int, refused: bool):
    header = "NRRD0005\ntype: uchar\ndimension: 4\nspace: LPS\n"
    header += (
        f"sizes: {values} 3 4 5\nspace directions: none (3,0,0) (0,2,0) (0,0,5)\nkinds: vector domain domain domain\n"
    )
    path = tmp_path / "ct.nrrd"
    path.write_bytes(
        f"{header}encoding: raw\n\n".encode() + np.repeat(VOXELS.astype("u1").ravel(order="F"), values).tobytes()
    )
    if refused:
        with pytest.raises(NotEvaluableError) as fault:
            load_nrrd(path)
        assert fault.value.code == "colour"
    else:
        np.testing.assert_array_equal(load_nrrd(path).array, VOXELS)


def test_a_study_is_read_where_itk_is_not_installed(tmp_path: Path):
    path = write(tmp_path / "ct.nrrd", GEOMETRIES["lps"])
    code = (
        "import sys; sys.modules['itk'] = None; from pathlib import Path;"
        "from scripts.intake.volume_file import read_nrrd; print(read_nrrd(Path(sys.argv[1])).voxels.shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], cwd=ROOT / "monai_bundle", capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "(5, 4, 3)", done.stderr
