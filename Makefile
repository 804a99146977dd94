# Run `make` for the list of targets.
SHELL := /bin/sh
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
STATICCHECK := $(GO) tool -modfile=tools/go.mod staticcheck

.PHONY: help build demo test check tools bench fuzz install clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

build: ## build bin/crabbox
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/crabbox ./cmd/crabbox

demo: build ## lease three local boxes, connect them as a crew, cut a link, clean up
	./bin/crabbox demo

test: tools ## install what the tests need, then run all of them with the race detector
	$(GO) test -race -timeout 20m ./...

check: ## formatting, vet on three systems, staticcheck, the rules of arch_test.go
	@test -z "$$(gofmt -l .)" || { echo 'not formatted (run gofmt -w):'; gofmt -l .; exit 1; }
	$(GO) vet ./...
	GOOS=darwin $(GO) vet ./...
	GOOS=windows $(GO) vet ./...
	$(STATICCHECK) ./...
	$(GO) test -count=1 .

tools: ## install what the tests need (apt, with sudo when not root)
	./scripts/test-tools

bench: tools ## measure the mesh against ssh -L, in turns
	$(GO) test ./bench -run '^$$' -bench . -benchtime 1x -timeout 30m

fuzz: ## fuzz everything that parses foreign input, 20 seconds each
	./scripts/fuzz 20s

install: build ## copy bin/crabbox to $(PREFIX)/bin, /usr/local by default
	install -D -m 0755 bin/crabbox $(DESTDIR)$(or $(PREFIX),/usr/local)/bin/crabbox

clean: ## remove what was built
	rm -rf bin
