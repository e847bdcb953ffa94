# muster: `make` prints this list.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
SEED    ?= 1
N       ?= 200
LDFLAGS := -s -w -X main.version=$(VERSION)

# Tests compile with the flags of the release, so that everything is built once.
# The race detector needs cgo, and so a build of its own.
export CGO_ENABLED = 0
export GOFLAGS := $(GOFLAGS) -trimpath -buildvcs=false

.PHONY: help build test check sim processes race mutants web browser compose bench bench-transport long deps generate fmt clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build bin/muster (static, no cgo)
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/muster ./cmd/muster

deps: ## Install what the tests need (Debian, as root)
	$(step)
	scripts/deps.sh

test: deps check sim processes race mutants web browser compose ## Install what the tests need and run all of them

check: ## Vet, house rules and all Go tests
	$(step)
	$(GO) vet ./...
	$(GO) test -vet=off -shuffle=on $$($(GO) list ./... | grep -v -e internal/e2e -e internal/hosts -e internal/mutants)
	cd bench && $(GO) test ./...

sim: ## Random faults on whole simulated clusters, then the invariants: SEED= first, N= how many, SCHEDULE= a file
	$(step)
	cd server && MUSTER_SEED=$(SEED) MUSTER_SEEDS=$(N) MUSTER_SCHEDULE=$(if $(SCHEDULE),$(abspath $(SCHEDULE))) \
		$(GO) test -vet=off -count=1 -timeout 60m -run KeepTheInvariants

processes: ## Real processes, alone on the machine: on loopback, and on hosts between which the network fails (as root)
	$(step)
	$(GO) test -vet=off -count=1 -p 1 -parallel 8 ./internal/e2e ./internal/hosts

race: ## The concurrent packages again under the race detector, with fewer random runs
	$(step)
	CGO_ENABLED=1 $(GO) test -vet=off -race -short -shuffle=on $(RACE)

mutants: ## Break one rule at a time: a test must notice
	$(step)
	$(GO) test -vet=off -count=1 ./internal/mutants

# What the tests below read and run lies outside their modules: never cached.

web: ## The dashboard's sources: types, bundle, fresh dist (Node and npm)
	$(step)
	[ -d web/node_modules ] || npm ci --prefix web
	$(GO) -C web/internal/build test -count=1 ./...

browser: web ## The dashboard in a real browser, before three real nodes
	$(step)
	$(GO) -C test/browser vet ./...
	$(GO) -C test/browser test -vet=off -count=1 .

compose: ## compose.yaml, Dockerfile and proxy, with real nodes behind it
	$(step)
	$(GO) -C test/compose vet ./...
	$(GO) -C test/compose test -vet=off -count=1 ./...

bench: ## Benchmarks; results belong into docs/performance.md
	$(GO) test -run '^$$' -bench . -benchmem ./config ./gossip ./replica ./store/postgres

bench-transport: ## The link beside memberlist's own transport and a POST for each packet; 10 minutes
	cd bench && $(GO) run ./transport

long: ## What is too slow for every change: 500 x kill -9, 1,000 random starts of each kind, 1,000 simulated clusters, floods for a minute (see docs/long.md)
	MUSTER_LONG=1 $(GO) test -vet=off -count=1 -timeout 60m -v -run 'Killed|OneCluster|TooSmall|ListOfAHundred|SickMembers' ./store/sqlite ./join ./server
	MUSTER_LONG=1 $(GO) test -vet=off -count=1 -timeout 15m -parallel 8 -v -run 'Nobody|LivedThrough' ./internal/hosts
	MUSTER_LONG=1 $(GO) test -vet=off -count=1 -timeout 30m -v -run 'DoNoHarm|EndlessBody|BadLogins' ./internal/e2e
	MUSTER_LONG=1 $(GO) test -vet=off -count=1 -timeout 60m -v -run 'SimulatedNodesThatExpect|SimulatedHealthyCluster' ./server
	MUSTER_LONG=1 $(GO) test -vet=off -count=1 -timeout 60m -v -run 'PartitionOfAnyLength|ComersAndGoers' ./server
	MUSTER_LONG=1 $(GO) test -vet=off -count=1 -timeout 60m -v -run 'LostHints|DigestsAlone' ./server
	MUSTER_LONG=1 $(GO) test -vet=off -count=1 -timeout 60m -v -run 'IdleNodes' ./internal/e2e
	$(MAKE) sim N=1000

generate: ## Rebuild generated code and the dashboard bundle
	npm run types --prefix web
	$(GO) generate ./...

fmt: ## Format
	gofmt -w $$(git ls-files '*.go')

clean: ## Remove build results
	rm -rf bin web/node_modules

# step says which part of the tests begins, and when.
step = @printf '\n== %s (%s)\n' $@ "$$(date +%T)"

# Everything that starts goroutines of its own.
RACE := . ./config/... ./link/... ./gossip/... ./join/... ./discovery/... ./store/memory/... ./store/peer/... ./replica/... ./mgmt/... ./auth/... ./journal/... ./lease/... ./server/... ./internal/testnet/...
