"""The node's log names no patient: its own lines bear hashes; of other lines only their origin is shown."""

from __future__ import annotations

import logging
import sys
import threading

from scripts.dicom_node.identity import fault_of

OWN = "scripts.dicom_node"
WITHHELD = "an error, withheld because it may name a patient"
_FORMAT = "%(asctime)s %(levelname)s %(message)s"

logger = logging.getLogger(__name__)


class WithoutPatients(logging.Filter):
    """Lets the node's own lines pass; of any other logger's errors only that there was one.

    pynetdicom logs data sets, dicomweb-client logs UIDs, pydicom's warnings quote values.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Empty a record that is not ours of everything but logger and level; drop it below ERROR."""
        if not record.name.startswith(OWN):
            if record.levelno < logging.ERROR:
                return False
            record.msg, record.args = f"{record.name}: {WITHHELD}", ()
        record.exc_info, record.exc_text, record.stack_info = None, None, None
        return True


def configure_log() -> None:
    """Log to standard error, as a service does; uncaught errors of any thread lose their text as well."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(WithoutPatients())
    handler.setFormatter(logging.Formatter(_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    threading.excepthook = _log_uncaught


def _log_uncaught(arguments: threading.ExceptHookArgs) -> None:
    fault = fault_of(arguments.exc_value) if arguments.exc_value else arguments.exc_type.__name__
    logger.error("a thread ended: %s", fault)
