#!/usr/bin/env bash
# Installs the Debian packages that the Python packages cannot bring along, where that is possible (Debian or a
# relative, as root); says what to install where it is not. Nothing here is needed to run the bundle on a CT.
#
#   debian-packages.sh venv   what makes a virtual environment
#   debian-packages.sh test   what the test suite needs
#   debian-packages.sh archive   the archive of `make archive-demo`
set -euo pipefail

archive=(
    orthanc            # a DICOM archive: receives studies, and the objects that the node sends back
    orthanc-dicomweb   # its DICOMweb services
)

case ${1:-} in
    venv)
        packages=(
            python3-venv       # Debian packs venv and ensurepip apart from Python
        )
        ;;
    archive)
        packages=("${archive[@]}")
        ;;
    test)
        packages=(
            "${archive[@]}"
            chromium           # opens report.html as a reader would: screenshots, console errors, printing to PDF
            chromium-driver    # drives chromium (selenium)
            fonts-dejavu-core  # text in those screenshots
            dicom3tools        # checks DICOM objects against the standard (dciodvfy, dcentvfy)
            poppler-utils      # draws the pages of the printed report
            cmake              # configures and installs the 3D Slicer extension into a scratch folder
            libegl1            # off-screen rendering by VTK and Qt
            libgl1             # linked by VTK and Qt
            libgl1-mesa-dri    # the software renderer behind both, where there is no graphics card
            libdbus-1-3        # linked by Qt
            libfontconfig1     # linked by Qt
            libx11-6           # linked by VTK
            libxkbcommon0      # linked by Qt
        )
        ;;
    *)
        echo "usage: ${0##*/} venv|test|archive" >&2
        exit 2
        ;;
esac

if ! command -v dpkg-query >/dev/null; then
    echo "Not a Debian system. Please see to the equivalents of: ${packages[*]}" >&2
    exit 0
fi

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

advice="apt-get install --no-install-recommends ${missing[*]}"
if [ "$(id -u)" -ne 0 ]; then
    echo "Debian packages are missing; what needs them will be skipped. To install them: sudo $advice" >&2
    exit 0
fi
echo "Installing Debian packages: ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
# Debian starts what it installs. Whoever wants an Orthanc here starts one of their own; no service is to run.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
fi
apt-get -qq update && apt-get -qq install --yes --no-install-recommends "${missing[@]}" >/dev/null </dev/null || {
    echo "That did not work. To see why: $advice" >&2
    exit 1
}
case " ${missing[*]} " in
    *" orthanc "*) update-rc.d orthanc disable >/dev/null 2>&1 || true ;;  # nor after the next start of the machine
esac
