#!/bin/sh
# Installs the programs that the node is tested against: Orthanc, DCMTK, PixelMed's SR validator, nginx with OHIF, Chromium,
# rsyslog, strace and gcc. The first six make `make pacs`, too, which brings a browser of its own: yours.
# Where they cannot be installed the tests that need them are skipped and say so; with CI=true that is an error.
set -eu
cd "$(dirname "$0")/../.."

PACKAGES="orthanc orthanc-dicomweb dcmtk nginx pixelmed-apps default-jre-headless strace rsyslog rsyslog-gnutls openssl gcc libc6-dev"
# By themselves: Ubuntu has no package of it, and is to get the rest all the same.
BROWSER="chromium fonts-dejavu-core"
OHIF=.peers/ohif

# Files, not commands: Debian keeps /usr/sbin off the PATH of ordinary users.
all_here() {
    for file in /usr/sbin/Orthanc /usr/share/orthanc/plugins/libOrthancDicomWeb.so /usr/bin/storescu /usr/sbin/nginx \
        /usr/share/java/pixelmed.jar /usr/bin/java /usr/bin/strace /usr/sbin/rsyslogd \
        /usr/bin/openssl /usr/bin/gcc /usr/include/time.h; do
        [ -e "$file" ] || return 1
    done
}

# Debian starts a package's service as it installs it; these are for tests, which start their own.
without_services() {
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap '$as_root rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
        $as_root chmod 755 "$policy"
    fi
    "$@"
    if [ -d /run/systemd/system ]; then
        $as_root systemctl disable --quiet orthanc rsyslog nginx
    fi
}

install() {
    # shellcheck disable=SC2086 # a list of words
    without_services $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $1 >/dev/null
}

can_install() {
    command -v apt-get >/dev/null && $as_root true 2>/dev/null
}

as_root=""
if [ "$(id -u)" != 0 ]; then
    as_root="sudo -n"
fi
# Node.js from elsewhere brings an npm of its own, which Debian's would not go with.
command -v npm >/dev/null || PACKAGES="$PACKAGES npm"
if { ! all_here || ! command -v npm >/dev/null || [ ! -e /usr/bin/chromium ]; } && can_install; then
    echo "Installing the peers for the tests: $PACKAGES $BROWSER"
    $as_root apt-get update -qq || true
    # A set -e within a function that is a condition is ignored, hence the second look below.
    install "$PACKAGES" || true
    install "$BROWSER" || true
fi
missing=""
all_here || missing="some of $PACKAGES"
sh docker/viewer/get_ohif.sh "$OHIF" || missing="$missing OHIF"
[ -e /usr/bin/chromium ] || missing="$missing chromium"
[ -z "$missing" ] && exit
echo "Not installed: $missing. Tests that need them are skipped. To have them:" >&2
echo "  sudo apt-get install --no-install-recommends $PACKAGES $BROWSER" >&2
[ "${CI:-}" != true ]
