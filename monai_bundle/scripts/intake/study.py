"""The study as the rest of the bundle sees it: stored voxels in HU with the geometry they were stored in."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from scripts.intake.skull import SkullLocation
from scripts.messages import ExpectedError, Message

AIR_HU = -1024
"""The lowest value a study holds (HU); padding and anything below become this."""


class IntakeError(ExpectedError):
    """The input cannot be used; the message is one line that names the file, the fault and the remedy.

    Parameters
    ----------
    code : str
        Name in the catalogue's section ``intake``, e.g. ``"empty_folder"``.
    **values
        One per placeholder of its text.

    Attributes
    ----------
    series_choice : tuple of Message
        One sentence per series that was considered before the refusal.
    """

    def __init__(self, code: str, /, **values: Any) -> None:
        super().__init__(f"intake.{code}", **values)
        self.series_choice: tuple[Message, ...] = ()


class NotEvaluableError(IntakeError):
    """A study was found but must not be read: the reason goes into its result folder.

    Parameters
    ----------
    code : str
        Name of the refusal in the catalogue's section ``intake``, e.g. ``"too_few_slices"``. Several texts may share
        one name: what follows a dot (``"no_geometry.pixel_spacing"``) chooses the text and is no part of :attr:`code`.
    **values
        One per placeholder of the text.
    """

    def __init__(self, code: str, /, **values: Any) -> None:
        super().__init__(code, **values)
        self.code = code.partition(".")[0]

    def within(self, place: str) -> NotEvaluableError:
        """Return the same refusal with the name of the study or file that it is about before its text."""
        named = NotEvaluableError("within", place=place, message=self.message)
        named.code = self.code
        named.series_choice = self.series_choice
        return named


class QualityWarning(Message):
    """Something a reader should know before trusting the result; never a reason to refuse.

    Parameters
    ----------
    code : str
        Name in the catalogue's section ``quality``, e.g. ``"gantry_tilt"``; what follows a dot only chooses the text.
    **values
        One per placeholder of its text.
    """

    def __init__(self, code: str, /, **values: Any) -> None:
        super().__init__(f"quality.{code}", **values)
        self.code = code.partition(".")[0]

    @property
    def name(self) -> str:
        """The code, by the attribute's name before 0.4: scripts around the intake still ask for it."""
        return self.code

    @property
    def message(self) -> str:
        """The English text, as :attr:`name` for older scripts."""
        return self.text()


@dataclass(frozen=True)
class Provenance:
    """Where a study came from. Holds no patient name, birth date or path.

    Attributes
    ----------
    source_name : str
        Name (not path) of the folder or file that was read.
    source_format : str
        ``"dicom"``, ``"nifti"``, ``"nrrd"`` or ``"phantom"``.
    study_uid, series_uid : str or None
        Study and Series Instance UID (0020,000D), (0020,000E) where known.
    kernel : str or None
        Convolution Kernel (0018,1210).
    slice_thickness_mm : float or None
        Slice Thickness (0018,0050).
    series_choice : tuple of Message
        One sentence per series of the study: chosen or left out, and why.
    """

    source_name: str
    source_format: Literal["dicom", "nifti", "nrrd", "phantom"]
    study_uid: str | None = None
    series_uid: str | None = None
    kernel: str | None = None
    slice_thickness_mm: float | None = None
    series_choice: tuple[Message, ...] = ()


@dataclass(frozen=True)
class CTStudy:
    """One series of original slices in Hounsfield units.

    Nothing is flipped, resampled or re-ordered in plane: ``voxels[k, r, c]`` is the stored value of row ``r``,
    column ``c`` of the k-th slice along the stack.

    Attributes
    ----------
    voxels : ndarray of int16, shape (slices, rows, columns)
        Hounsfield units, read-only.
    affine : ndarray of float64, shape (4, 4)
        Voxel index ``(column, row, slice, 1)`` to patient coordinates RAS+ in mm. The shear of a tilted gantry is
        kept; where slices are unevenly spaced the step is the mean step.
    positions_mm : ndarray of float64, shape (slices,)
        Position of each original slice along the slice normal, in mm; strictly monotonic.
    provenance : Provenance
        Where the study came from.
    warnings : tuple of QualityWarning
        Filled by the reader and by the quality gate.
    file_axes : tuple of int
        For each axis (column, row, slice), which axis of the file's own array it was; ``(0, 1, 2)`` unless a NIfTI
        or NRRD file stores its slices along another axis.
    sop_instance_uids : tuple of str or None
        SOP Instance UID (0008,0018) of the image that each slice was stored in, in the order of the slices; the same
        for all frames of a multi-frame image, as written even where it is no valid UID, empty where the image has
        none. None for files other than DICOM.
    skull : SkullLocation or None
        Where the quality gate found skull and brain; None before it.
    """

    voxels: NDArray[np.int16]
    affine: NDArray[np.float64]
    positions_mm: NDArray[np.float64]
    provenance: Provenance
    warnings: tuple[QualityWarning, ...] = ()
    file_axes: tuple[int, int, int] = field(default=(0, 1, 2))
    sop_instance_uids: tuple[str, ...] | None = None
    skull: SkullLocation | None = None

    def __post_init__(self) -> None:
        """Check shapes and make the arrays read-only."""
        if self.voxels.ndim != 3 or self.voxels.dtype != np.int16:
            raise ValueError(f"voxels must be int16 (slices, rows, columns): {self.voxels.dtype} {self.voxels.shape}")
        if self.affine.shape != (4, 4) or self.positions_mm.shape != self.voxels.shape[:1]:
            raise ValueError("affine must be (4, 4) and positions_mm one value per slice")
        if self.sop_instance_uids is not None and len(self.sop_instance_uids) != len(self.voxels):
            raise ValueError(f"{len(self.sop_instance_uids)} SOP Instance UIDs for {len(self.voxels)} slices")
        for array in (self.voxels, self.affine, self.positions_mm):
            array.flags.writeable = False

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance in mm between neighbouring columns, rows and slices (the last along the slice normal)."""
        column, row = (float(np.linalg.norm(self.affine[:3, axis])) for axis in (0, 1))
        return column, row, abs(float(self.affine[:3, 2] @ self.slice_normal))

    @property
    def slices_to_read(self) -> NDArray[np.bool_]:
        """Which slices may hold brain, shape (slices,): all before the quality gate has found the skull."""
        if self.skull is None:
            return np.ones(len(self.voxels), dtype=np.bool_)
        return self.skull.slices_to_read(self.positions_mm)

    @property
    def slice_normal(self) -> NDArray[np.float64]:
        """Unit vector (RAS) perpendicular to the slices: column direction x row direction."""
        normal = np.cross(self.affine[:3, 0], self.affine[:3, 1])
        return normal / np.linalg.norm(normal)

    @property
    def tilt_degrees(self) -> float:
        """Angle between the slice normal and the step from slice to slice; 0 unless the gantry was tilted."""
        step = self.affine[:3, 2]
        cosine = abs(float(step @ self.slice_normal)) / float(np.linalg.norm(step))
        return float(np.degrees(np.arccos(min(1.0, cosine))))

    @property
    def orientation(self) -> str:
        """Anatomical direction in which column, row and slice index increase, e.g. ``"LPS"``."""
        return "".join(code or "?" for code in nib.aff2axcodes(self.affine))

    @property
    def file_affine(self) -> NDArray[np.float64]:
        """Affine (RAS, mm) for arrays in the axis order of the file that was read."""
        affine = self.affine.copy()
        affine[:, list(self.file_axes)] = self.affine[:, :3]
        return affine

    def in_file_order(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """Bring an array of shape (slices, rows, columns) into the axis order of the file that was read.

        The result together with :attr:`file_affine` overlays the file voxel on voxel. For DICOM it is
        (column, row, slice), as NIfTI converters write it.
        """
        by_column_row_slice = array.transpose(2, 1, 0)
        return by_column_row_slice.transpose(tuple(int(axis) for axis in np.argsort(self.file_axes)))

    def with_choice(self, series_choice: tuple[Message, ...]) -> CTStudy:
        """Return the same study with the sentences on the choice of its series."""
        return replace(self, provenance=replace(self.provenance, series_choice=series_choice))

    def with_warnings(self, *warnings: QualityWarning) -> CTStudy:
        """Return the same study with further warnings."""
        return replace(self, warnings=(*self.warnings, *warnings))
