"""Every text that users read of installing and checking, by code; see ``messages.py``. Standard library only."""

from __future__ import annotations

import sys


def _(text: str) -> str:
    """Mark a text for extraction; it is translated when it is needed."""
    return text


INSTALLATION_CATALOGUE = {
    # Terms of the weights
    "terms.ask": _(
        "The weights of this module may be used for {terms} only: they were made with data offered on these terms. "
        "Research use only: not a medical device, not for diagnosis or treatment. Do you accept these terms?"
    ),
    "terms.accept": _("Accept"),
    "terms.not_accepted": _(
        "The weights of this module may be used for {terms} only, and only by somebody who accepts that: accept the "
        "terms in the panel of the module, or call diagnose(..., accept_terms=True)."
    ),
    # Installation
    "install.install": _("Install"),
    "install.package_missing": _("{name} (not installed; about {size} MB)"),
    "install.package_too_old": _("{name} ({installed} is installed; about {size} MB)"),
    "install.package_damaged": _("{name} ({installed} is damaged: {fault}; about {size} MB, installed anew)"),
    "install.file_missing": _("{file} is missing"),
    "install.consent": _("To read a study, these Python packages must be installed first (about {total} MB):"),
    "install.torch_cuda": _("Torch comes in its build for NVIDIA graphics cards, for such a card was found."),
    "install.torch_cpu": _("Torch comes in its build for the processor, for no NVIDIA graphics card was found."),
    "install.room": _("{free} MB are free in {folder}."),
    "install.intel_mac": _(
        "This module cannot run here: for Macs with an Intel processor there is no torch newer than 2.2, and it needs "
        "2.8. Read the study from the terminal of another computer (README): the report opens in any browser."
    ),
    "install.rosetta": _(
        "This 3D Slicer is built for Intel processors and runs by Rosetta: there is no torch newer than 2.2 for it, "
        "and this module needs 2.8. Use a 3D Slicer built for Apple silicon, or the terminal of this Mac (README)."
    ),
    "install.installing": _("Installing"),
    "install.installing_package": _("Installing {name} ({number} of {total})"),
    "install.installed": _("Installed"),
    "install.restart": _("Installed. Restart 3D Slicer before going on: {names} changed while in use."),
    "install.belongs_to_slicer": _("{name} is needed and belongs to Slicer itself: use a newer Slicer"),
    "install.not_installed": _("{name} was not installed"),
    "install.incomplete": _("{name} was installed without what it needs: {missing}"),
    "install.no_room": _("The disk is too full: {needed} MB are needed in {folder}, {free} MB are free."),
    "install.folder_not_writable": _(
        "Packages are installed into {folder}, where you may not write: install 3D Slicer into a folder of your own, "
        "or start it once as administrator."
    ),
    "install.proxy": _("{name} could not be installed: the proxy {proxy} let nothing through."),
    "install.unnamed_proxy": _("of this network"),
    "install.certificate": _(
        "{name} could not be installed: the certificate of the connection was refused. A proxy or a virus scanner may "
        "read along; ask your administrator, or install from a folder of wheels."
    ),
    "install.no_network": _(
        "{name} could not be installed: the internet was not reached. Try again, or install from a folder of wheels."
    ),
    "install.disk_full": _("{name} could not be installed: the disk is full."),
    "install.long_paths": _(
        "{name} could not be installed: a path is longer than Windows allows. Allow long paths in Windows, or install "
        "3D Slicer into a shorter folder."
    ),
    "install.in_use": _(
        "{name} could not be installed: a file is in use. Restart 3D Slicer and install before anything else is used."
    ),
    "install.not_writable": _("{name} could not be installed: a folder of 3D Slicer may not be written."),
    "install.conflict": _(
        "{name} could not be installed: what other packages need contradicts it. The log names them; update or remove "
        "the extension that they belong to."
    ),
    "install.torch_unusable": _("{name} was installed but cannot be imported: {error}"),
    "install.unexpected": _("The installation failed: {error}"),
    "install.failed": _("{name} could not be installed: {error}"),
    "install.no_wheel_folder": _("The folder of wheels does not exist: {folder}"),
    "install.no_python": _("Python could not be started: {error}"),
    "install.checking": _("Checking packages, device and weights…"),
    "check.no_problems": _("All is well."),
    "check.version": _("Model version: {version}"),
    "check.unknown": _("unknown"),
    "check.device": _("Device: {name}{memory} (torch {version})"),
    "check.packages": _("Packages: {versions}"),
    "weights.intact": _("intact"),
    "weights.missing": _("missing"),
    "weights.wrong_hash": _("wrong hash"),
    "weights.usable": _("{title}: {file} is as stated, and fills its network"),
    "weights.usable_own": _("{title}: {file} fills its network; no hash is stated for it"),
    "weights.unusable": _("{title}: {file} cannot be used: {fault}"),
    "weights.not_checked": _("The weights of the installed systems could not be loaded: {error}"),
    "device.no_python": _("Python could not be started: {error}"),
    "device.no_answer": _("Torch gave no answer within {seconds:g} s"),
    "device.no_message": _("no message"),
    "device.crashed": _("Torch crashed, or the system ended it, when asked about the device (status {status})"),
    "device.error": _("Torch could not be asked about the device: {error}"),
}


def installation_text(code: str) -> str:
    """Return a text in the language of the application, its placeholders unfilled.

    Slicer looks for a translation in the context of the file that asks: the one in which the text stands.
    """
    i18n = sys.modules.get("slicer.i18n")
    text = INSTALLATION_CATALOGUE[code]
    return str(text if i18n is None else i18n.tr(text))
