#!/bin/sh
# Install what the tests marked rtsp and browser need: a real RTSP server and a real browser.
# Only what is missing is installed. Where that is impossible the reason is printed and the exit code is 0:
# those tests then skip with the same reason.
set -eu

wanted="ffmpeg gir1.2-gst-rtsp-server-1.0 gir1.2-gst-plugins-base-1.0 python3-gi python3-numpy
gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly
gstreamer1.0-libav gstreamer1.0-rtsp libgstrtspserver-1.0-0 chromium"

give_up() {
    echo "install-debian-packages: $1; tests marked rtsp or browser may skip" >&2
    exit 0
}

command -v apt-get >/dev/null 2>&1 || give_up "must have apt-get, found none on this system"

missing=""
for package in $wanted; do
    state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
if [ -z "$missing" ]; then
    echo "install-debian-packages: everything is installed already"
    exit 0
fi

[ "$(id -u)" -eq 0 ] || give_up "must run as root to install, run: sudo $0 (missing:$missing)"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086  # a list of words on purpose
if ! { apt-get -q update && apt-get -q -y --no-install-recommends install $missing; } >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    give_up "apt-get must succeed, it failed as shown above"
fi
echo "install-debian-packages: installed$missing"
