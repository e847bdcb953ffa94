# muster: `make` prints this list.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X main.version=$(VERSION)

.PHONY: help build test check race browser bench long deps generate fmt clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build bin/muster (static, no cgo)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/muster ./cmd/muster

deps: ## Install what the tests need (Debian, as root)
	scripts/deps.sh

test: deps check race browser ## Install what the tests need and run all of them

check: ## Vet, house rules and all Go tests
	$(GO) vet ./...
	$(GO) test -shuffle=on ./...

race: ## The concurrent packages again under the race detector
	$(GO) test -race -shuffle=on $(RACE)

browser: build ## The dashboard in a real browser, and the compose file's schema
	cd test && MUSTER_BIN=$(CURDIR)/bin/muster $(GO) test ./...

bench: ## Benchmarks; results belong into docs/performance.md
	$(GO) test -run '^$$' -bench . -benchmem ./config ./gossip ./replica ./store/postgres

long: ## What is too slow for every change: 1,000 cycles of the kill -9 test
	MUSTER_LONG=1 $(GO) test -count=1 -timeout 60m -run Long ./...

generate: ## Rebuild generated code and the dashboard bundle
	$(GO) generate ./...

fmt: ## Format
	gofmt -w $$(git ls-files '*.go')

clean: ## Remove build results
	rm -rf bin web/node_modules

# Everything that starts goroutines of its own.
RACE := . ./config/... ./link/... ./gossip/... ./join/... ./discovery/... ./store/memory/... ./store/peer/... ./replica/... ./mgmt/... ./auth/... ./server/... ./internal/...
