"""A DICOM node: receives head CT by C-STORE or from a DICOMweb archive, reads each study, sends the objects back.

    python -m scripts.dicom_node run --config node.json

Every step is written to a queue on disk before the next begins (:mod:`scripts.dicom_node.study_queue`), so that either
side may be killed at any moment. ``docs/dicom_node.md`` is the page for whoever runs it.
"""
