# Every target has one line of help behind "##"; `make` alone prints them.
# Tools are pinned here, installed into ./bin when first needed, never in go.mod.

SHELL       := /bin/sh
BIN         := bin
FUZZTIME    ?= 20s
SEED        ?= 1
BENCH       ?= .
TESTFLAGS   ?=
TESTTIMEOUT ?= 15m

GOFUMPT       := mvdan.cc/gofumpt@v0.12.0
STATICCHECK   := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK   := golang.org/x/vuln/cmd/govulncheck@v1.9.0
GOLANGCI-LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GORELEASER    := github.com/goreleaser/goreleaser/v2@v2.15.1
SYFT          := github.com/anchore/syft/cmd/syft@v1.38.0
CUE           := cuelang.org/go/cmd/cue@v0.17.1
ACTIONLINT    := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
BUF           := github.com/bufbuild/buf/cmd/buf@v1.75.0
PROTOC-GEN-GO         := google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
PROTOC-GEN-CONNECT-GO := connectrpc.com/connect/cmd/protoc-gen-connect-go@v1.21.1
GREMLINS      := github.com/go-gremlins/gremlins/cmd/gremlins@v0.6.0

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
CLI     := github.com/oaas-platform/oprc/internal/cli
DATE    := $(shell TZ=UTC0 git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd 2>/dev/null)
LDFLAGS := -s -w -X $(CLI).version=$(VERSION) -X $(CLI).commit=$(COMMIT) -X $(CLI).date=$(DATE)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## list these targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build ./bin/oprc, and ./bin/oprc-crm for containers
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/oprc ./cmd/oprc-crm

.PHONY: run
# Not optimised: compiling everything for the first time takes two thirds of the time.
run: ## run everything in one process, on the examples
	CGO_ENABLED=0 go run -gcflags='all=-N -l -dwarf=false' -ldflags='-s -w' ./cmd/oprc dev examples/

.PHONY: test
# Most tests wait for other processes most of the time: more of them at once than there are cores.
test: deps ## run all tests; installs redis-server, redis-tools, python3-redis, openssh-client, jq and curl when missing
	go test -p 3 -parallel 4 -timeout $(TESTTIMEOUT) $(TESTFLAGS) ./...

.PHONY: test-endurance
test-endurance: deps ## run the long tests: processes killed at random, failovers under load, a CRM away for a day, thousands of packages, a CRM written in Bash
	go test -tags endurance -p 2 -parallel 4 -timeout 20m -count=1 $(TESTFLAGS) ./e2e -run "^($$(git grep -l '^//go:build endurance' -- '*_test.go' | xargs sed -n 's/^func \(Test[A-Za-z0-9]*\)(.*/\1/p' | paste -sd '|' -))$$"

.PHONY: test-containers
test-containers: ## run the tests of the container driver; installs Podman when missing
	@.ci/deps
	@.ci/deps-containers
	go test -tags containers -timeout $(TESTTIMEOUT) -count=1 $(TESTFLAGS) ./crm/docker

.PHONY: test-kubernetes
test-kubernetes: ## run the tests of the Kubernetes drivers against a real API server; installs etcd and builds Kubernetes when missing
	@.ci/deps
	@.ci/deps-kubernetes
	go test -tags kubernetes -timeout $(TESTTIMEOUT) -count=1 $(TESTFLAGS) ./crm/kubernetes

.PHONY: test-console
test-console: ## try the console in Chromium, page by page; installs it when missing (SCREENSHOTS=docs/console writes pictures anew)
	@.ci/deps-browser
	go test -tags browser -timeout $(TESTTIMEOUT) -count=1 $(TESTFLAGS) ./internal/console -run '^TestBrowser' $(if $(SCREENSHOTS),-screenshots $(abspath $(SCREENSHOTS)))

.PHONY: vendor-console
vendor-console: ## fetch the console's scripts from npm at their pinned versions, with their licences
	.ci/vendor-console

.PHONY: test-api
test-api: ## try the API by its OpenAPI document: 10,000 requests made up from SEED, a public validator, a client in TypeScript; installs Node when missing
	@.ci/deps-client
	go test -tags client -timeout $(TESTTIMEOUT) -count=1 $(TESTFLAGS) ./internal/rest \
		-run 'TestAnswersAreThoseOfTheDocument|TestGeneratedClient' -document.requests 10000 -document.seed $(SEED)

.PHONY: test-conformance
test-conformance: deps ## check the CRMs of the SDK, in Python, Node and shell by the conformance suite, on each kind of Redis; installs Node when missing
	@.ci/deps-conformance
	go test -tags conformance -parallel 4 -timeout $(TESTTIMEOUT) -count=1 $(TESTFLAGS) ./crm/conformance -run 'TestEachKindOfRedis|TestExamples$$|TestProcessDriver'

.PHONY: alerts
alerts: ## try the alerts of deploy/prometheus; installs promtool when missing
	@.ci/deps-alerts
	promtool check rules deploy/prometheus/oprc.rules.yml
	promtool test rules deploy/prometheus/oprc.test.yml

# Images for examples/, made here from scratch: there is no registry that has them.
CONTAINERS ?= $(shell command -v podman || command -v docker)
.PHONY: example-images
example-images: ## build the images that the examples name, with podman or docker
	@test -n "$(CONTAINERS)" || { echo "neither podman nor docker is installed" >&2; exit 1; }
	mkdir -p build/functions
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o build/functions/echo ./examples/functions/echo
	@for image in $$(git grep -ho 'registry\.example/[A-Za-z0-9./_-]*:[0-9.]*' -- 'examples/*.yaml' | sort -u); do \
		echo "$$image"; $(CONTAINERS) build -q -f examples/functions/Containerfile -t "$$image" build/functions >/dev/null || exit 1; \
	done

.PHONY: e2e
e2e: deps ## run the end-to-end tests alone
	go test -timeout $(TESTTIMEOUT) -count=1 $(TESTFLAGS) ./e2e

.PHONY: explore
explore: deps ## explore interleavings of writers at length: 100,000 in memory, 2,000 on a Redis, 50 pairs of each relation, and damage each key in each way
	go test -timeout 20m -count=1 $(TESTFLAGS) ./internal/reconcile -run 'Order|Random' -explore.worlds 4000
	go test -timeout 20m -count=1 $(TESTFLAGS) ./internal/reconcile -run RacesOnRedis -explore.worlds 1340
	go test -timeout 20m -count=1 $(TESTFLAGS) ./e2e -run 'TestTwo(AtOnce|SavedPlans|PostsAtOnce)|TestFiftyWriters' -pairs 50
	go test -timeout 30m -count=1 $(TESTFLAGS) ./e2e -run TestEachKeyDamaged -damage.share 1

# The packages that decide, each judged by its own tests alone. A mutant may take 40 times as
# long as all tests do without one, so that a busy machine kills none. Nearly all of the time
# goes into compiling and linking each mutant: no cgo, and no symbols.
MUTATE ?= internal/placement internal/resolve internal/oprc internal/ingest internal/plan
.PHONY: mutate
mutate: $(BIN)/gremlins ## change the code in each place, and expect a test to fail: 95 % of them at least (MUTATE=packages)
	@set -e; for dir in $(MUTATE); do \
		exec=; ! grep -qs 'pgregory.net/rapid' $$dir/*_test.go || exec="-exec=$(CURDIR)/.ci/laws"; \
		echo "mutate $$dir"; \
		CGO_ENABLED=0 GOFLAGS="-buildvcs=false -count=1 -vet=off -short -ldflags=-s $$exec" $(BIN)/gremlins unleash --workers 1 --timeout-coefficient 40 \
			--threshold-efficacy 95 ./$$dir; \
	done

.PHONY: explore-mutants
explore-mutants: ## break the program once for each relation, and expect the explorer of interleavings to find it
	.ci/explore-mutants

.PHONY: deps
deps:
	@.ci/deps

.PHONY: check
check: fmt-check vet cross lint race tidy-check ## what CI runs: format, vet, other systems, lint, tests with the race detector, go.mod

.PHONY: fmt
fmt: $(BIN)/gofumpt ## format the Go files
	$(BIN)/gofumpt -w $$(git ls-files '*.go' ':!proto')

.PHONY: fmt-check
fmt-check: $(BIN)/gofumpt
	@files=$$($(BIN)/gofumpt -l $$(git ls-files '*.go' ':!proto')); \
	if [ -n "$$files" ]; then echo "not formatted (make fmt):"; echo "$$files"; exit 1; fi

.PHONY: vet
vet:
	go vet -tags endurance,containers,kubernetes,browser,conformance,client ./...

.PHONY: cross
cross:
	GOOS=windows CGO_ENABLED=0 go build -o /dev/null ./cmd/oprc
	GOOS=darwin CGO_ENABLED=0 go build -o /dev/null ./cmd/oprc

.PHONY: lint
lint: $(BIN)/staticcheck $(BIN)/golangci-lint ## staticcheck and golangci-lint
	$(BIN)/staticcheck ./...
	$(BIN)/golangci-lint run

.PHONY: race
race: deps
	go test -race -timeout $(TESTTIMEOUT) $(TESTFLAGS) ./...

.PHONY: tidy-check
tidy-check:
	go mod tidy -diff

.PHONY: bench
bench: ## measure the program beside floors, tables for docs/performance.md (SIZES=1000,10000)
	go test -tags bench ./e2e -run '^TestBench$$' -count=1 -timeout 2h -v -bench.sizes '$(or $(SIZES),1000,10000)'

.PHONY: microbench
microbench: ## run the benchmarks beside the code (BENCH=regexp)
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./...

.PHONY: fuzz
fuzz: ## run each fuzz test for a while (FUZZTIME=20s)
	@set -e; git grep -l '^func Fuzz' -- '*_test.go' | while read -r file; do \
		sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$$file" | while read -r name; do \
			echo "fuzz $$name"; go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "./$$(dirname "$$file")"; \
		done; \
	done

.PHONY: schema
schema: ## write schema/oprc.schema.json, which editors read, anew
	go run ./cmd/oprc schema export --format jsonschema > schema/oprc.schema.json.new
	mv schema/oprc.schema.json.new schema/oprc.schema.json

.PHONY: proto
proto: $(BIN)/buf $(BIN)/protoc-gen-go $(BIN)/protoc-gen-connect-go ## lint proto/, write its Go code anew, and compare the API with the one of the branch main
	cd proto && ../$(BIN)/buf lint && PATH="$(CURDIR)/$(BIN):$$PATH" ../$(BIN)/buf generate
	! git cat-file -e main:proto/buf.yaml 2>/dev/null || $(BIN)/buf breaking proto --against '.git#branch=main,subdir=proto'

.PHONY: cue
cue: $(BIN)/cue ## vet the CUE schema, and the examples by it, with the cue command, as users do
	cd schema && ../$(BIN)/cue vet -c=false ./...
	git ls-files 'examples/*.yaml' | grep -v oprc.yaml | while read -r file; do \
		def=CompatiblePackage; ! grep -q '^kind: Environment' "$$file" || def=Environment; \
		$(BIN)/cue vet -c -d "#$$def" "$$file" ./schema || exit 1; \
	done

.PHONY: actions
actions: $(BIN)/actionlint ## lint the CI workflows
	$(BIN)/actionlint

.PHONY: test-chart
# go vet would judge all of the API types of Kubernetes first, which takes minutes.
test-chart: ## lint and render the Helm chart with Helm's own code, in a module of its own
	cd tools/chart && go test -vet=off -timeout $(TESTTIMEOUT) $(TESTFLAGS) ./...

RELEASE_ENV = PATH="$(CURDIR)/$(BIN):$$PATH" RELEASE_COMMIT=$(COMMIT) RELEASE_DATE=$(DATE) RELEASE_TIMESTAMP=$$(git log -1 --format=%ct)

.PHONY: snapshot
snapshot: $(BIN)/goreleaser $(BIN)/syft ## build all release files into ./dist, publish nothing
	$(RELEASE_ENV) $(BIN)/goreleaser release --snapshot --clean --skip=publish,sign

.PHONY: release
release: $(BIN)/goreleaser $(BIN)/syft ## build, sign and publish the release of the current tag; for the release workflow
	$(RELEASE_ENV) $(BIN)/goreleaser release --clean

.PHONY: reproducible
reproducible: ## build all release files twice and compare their checksums
	$(MAKE) snapshot && grep -v sbom dist/checksums.txt > build/first.txt
	$(MAKE) snapshot && grep -v sbom dist/checksums.txt | diff build/first.txt -

IMAGE ?= oprc
IMAGE_ARGS = -f deploy/Containerfile --build-arg VERSION=$(VERSION) --build-arg COMMIT=$(COMMIT) --build-arg DATE=$(DATE)
.PHONY: image
image: ## build the container image IMAGE:VERSION, with podman or docker
	@test -n "$(CONTAINERS)" || { echo "neither podman nor docker is installed" >&2; exit 1; }
	$(CONTAINERS) build $(IMAGE_ARGS) -t $(IMAGE):$(VERSION) .

.PHONY: image-push
image-push: ## build the image for amd64 and arm64, push it, and print its digest; for the release workflow
	mkdir -p build
	docker buildx build $(IMAGE_ARGS) --build-arg SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) --platform linux/amd64,linux/arm64 \
		--provenance=false --push -t $(IMAGE):$(VERSION) --metadata-file build/image.json .
	digest=$$(sed -n 's/.*"containerimage.digest": *"\(sha256:[0-9a-f]*\)".*/\1/p' build/image.json); \
		test -n "$$digest" && echo "digest=$$digest" >> "$${GITHUB_OUTPUT:-/dev/stdout}"

.PHONY: vulnerabilities
vulnerabilities: $(BIN)/govulncheck ## look for known vulnerabilities in what is linked
	$(BIN)/govulncheck ./...

# Called by goreleaser: what the archives and packages carry besides the binary.
.PHONY: release-files
release-files:
	rm -rf build/release
	mkdir -p build/release/completions build/release/man
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o build/release/ ./cmd/oprc ./cmd/oprc-crm
	build/release/oprc completion bash > build/release/completions/oprc.bash
	build/release/oprc completion zsh > build/release/completions/_oprc
	build/release/oprc completion fish > build/release/completions/oprc.fish
	CGO_ENABLED=0 go run -trimpath ./tools/man -version '$(VERSION)' -date $$(git log -1 --format=%ct) build/release/man
	gzip -9n build/release/man/*
	.ci/notices build/release/oprc build/release/oprc-crm > build/release/THIRD_PARTY_NOTICES
	rm build/release/oprc build/release/oprc-crm

.PHONY: tools
tools: $(addprefix $(BIN)/,gofumpt staticcheck govulncheck golangci-lint goreleaser syft cue actionlint gremlins buf protoc-gen-go protoc-gen-connect-go) ## install every tool into ./bin

.PHONY: clean
clean: ## remove what was built, tools included
	rm -rf $(BIN) build dist

# bin/NAME depends on a stamp that carries the version, so that a new pin
# installs anew.
define tool
$(BIN)/$(1): $(BIN)/.stamp/$(1)@$(lastword $(subst @, ,$(2)))
	@touch $$@
$(BIN)/.stamp/$(1)@$(lastword $(subst @, ,$(2))):
	@mkdir -p $$(@D)
	GOBIN=$(CURDIR)/$(BIN) GOFLAGS= go install -trimpath $(2)
	@touch $$@
endef
$(eval $(call tool,gofumpt,$(GOFUMPT)))
$(eval $(call tool,staticcheck,$(STATICCHECK)))
$(eval $(call tool,govulncheck,$(GOVULNCHECK)))
$(eval $(call tool,golangci-lint,$(GOLANGCI-LINT)))
$(eval $(call tool,goreleaser,$(GORELEASER)))
$(eval $(call tool,syft,$(SYFT)))
$(eval $(call tool,cue,$(CUE)))
$(eval $(call tool,actionlint,$(ACTIONLINT)))
$(eval $(call tool,gremlins,$(GREMLINS)))
$(eval $(call tool,buf,$(BUF)))
$(eval $(call tool,protoc-gen-go,$(PROTOC-GEN-GO)))
$(eval $(call tool,protoc-gen-connect-go,$(PROTOC-GEN-CONNECT-GO)))
