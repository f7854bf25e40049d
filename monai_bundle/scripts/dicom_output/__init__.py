"""A finished result as DICOM objects beside its series; needs the packages of the extra ``dicom``."""
