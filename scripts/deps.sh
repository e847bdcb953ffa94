#!/bin/sh
# Installs what the tests need on Debian: a real PostgreSQL, a browser, proxies and
# a C compiler for the race detector. Does nothing when all of it is there.
set -eu
PATH="$PATH:/usr/sbin:/sbin"

missing=""
need() { # need COMMAND PACKAGE
	command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}

ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
need chromium chromium
need nginx nginx-light
need haproxy haproxy
need ip iproute2
need iptables iptables
need gcc gcc
[ -e /usr/include/stdlib.h ] || missing="$missing libc6-dev"
ls /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf >/dev/null 2>&1 || missing="$missing fonts-dejavu-core"
need npm npm

if [ -z "$missing" ]; then
	echo "all there: PostgreSQL, Chromium, nginx, HAProxy, iptables, gcc, npm"
	exit 0
fi
echo "installing:$missing"
if [ "$(id -u)" -ne 0 ]; then
	echo "error: run as root, or install these packages yourself:$missing" >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq # there may be no lists at all
# shellcheck disable=SC2086 # a list of packages
apt-get install -y -qq --no-install-recommends $missing </dev/null
