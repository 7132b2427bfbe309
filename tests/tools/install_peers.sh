#!/bin/sh
# Installs the programs that the node is tested against: Orthanc, DCMTK, PixelMed's SR validator, rsyslog, strace and gcc.
# Where they cannot be installed the tests that need them are skipped and say so; with CI=true that is an error.
set -eu

PACKAGES="orthanc orthanc-dicomweb dcmtk pixelmed-apps default-jre-headless strace rsyslog rsyslog-gnutls openssl gcc libc6-dev"

# Files, not commands: Debian keeps /usr/sbin off the PATH of ordinary users.
all_here() {
    for file in /usr/sbin/Orthanc /usr/share/orthanc/plugins/libOrthancDicomWeb.so /usr/bin/storescu \
        /usr/share/java/pixelmed.jar /usr/bin/java /usr/bin/strace /usr/sbin/rsyslogd \
        /usr/bin/openssl /usr/bin/gcc /usr/include/time.h; do
        [ -e "$file" ] || return 1
    done
}

# Debian starts a package's service as it installs it; this Orthanc is for tests, which start their own.
without_services() {
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap '$as_root rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
        $as_root chmod 755 "$policy"
    fi
    "$@"
    if [ -d /run/systemd/system ]; then
        $as_root systemctl disable --quiet orthanc rsyslog
    fi
}

install() {
    $as_root apt-get update -qq
    # shellcheck disable=SC2086 # a list of words
    without_services $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $PACKAGES >/dev/null
}

all_here && exit
as_root=""
if [ "$(id -u)" != 0 ]; then
    as_root="sudo -n"
fi
if command -v apt-get >/dev/null && $as_root true 2>/dev/null; then
    echo "Installing the peers for the tests: $PACKAGES"
    # A set -e within a function that is a condition is ignored, hence the second look.
    install || true
fi
all_here && exit
echo "Not installed: some of $PACKAGES. Tests that need them are skipped. To have them:" >&2
echo "  sudo apt-get install --no-install-recommends $PACKAGES" >&2
[ "${CI:-}" != true ]
