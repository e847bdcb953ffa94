#!/bin/sh
# Everything that guards the dashboard: the handler, fresh dist and types, the
# type checker, and a real browser. Needs Node, npm and Chromium.
set -eu
cd "$(dirname "$0")/.."
go test ./web/
go -C web/internal/build test -count=1 ./... # what it reads lies outside its module: never cached
go -C test/browser test ./...
