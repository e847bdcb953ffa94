#!/bin/sh
# Everything that guards the dashboard: the handler, fresh dist and types, the
# type checker, and a real browser. Needs Node, npm and Chromium.
set -eu
cd "$(dirname "$0")/.."
go test ./web/
go -C web/internal/build test ./...
go -C test/browser test ./...
