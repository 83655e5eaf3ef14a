#!/usr/bin/env bash
# Unpacks Debian's Prometheus and promtool into .prometheus/, for the tests of rules and alerts. Does not install them: an
# installed Prometheus would start as a service. Needs apt-get, and root when its lists of packages are not there yet.
set -euo pipefail
cd "$(dirname "$0")/../.."

mkdir -p .prometheus
cd .prometheus
apt-get download -qq prometheus 2>/dev/null || { apt-get update -qq && apt-get download -qq prometheus; }
dpkg -x prometheus_*.deb .
rm prometheus_*.deb
usr/bin/promtool --version | head -n 1
