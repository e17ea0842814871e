# The verbs of FlowKit. `make up` on a bare Debian machine ends with a running FlowKit; `make test` says whether it works.

# Root installs for everybody, others for themselves. The services find their Python beside the program.
PREFIX ?= $(if $(filter 0,$(shell id -u)),/usr/local,$(HOME)/.local)
export PREFIX

# What is installed, with FlowAPI's program beside it: the release binary, built first, or one that is there already, such as
# target/debug/flowkit.
PROGRAM ?= target/release/flowkit
# Which made-up data: a month of 20,000 people. DEMO="--days 3 --subscribers 2000 --sites 60" is there at once.
DEMO ?=

FLOWKIT = $(PREFIX)/bin/flowkit
# Beside the roles that `flowkit up` starts anyway: those whose Python `setup` was not told to leave out.
WITH = $(if $(FLOWKIT_NO_ETL),,--with flowetl) $(if $(FLOWKIT_NO_NOTEBOOKS),,--with autoflow)

.PHONY: help setup setup-tests build install up down test test-modules test-nixpkgs docs-options lint bench relock

help:
	@echo "make up      install what is missing, build, start FlowKit's seven roles with a month of made-up data, send a day through all of them"
	@echo "make down    stop it (the data stays)"
	@echo "make test    everything that must hold: lint, unit and integration tests"
	@echo "make test-modules  the NixOS modules alone; NIXPKGS_LIB=… takes nixpkgs' own library for it"
	@echo "make test-nixpkgs NIXPKGS=DIR  every output and example on a checkout of nixpkgs: evaluated, and compared with tests/debian"
	@echo "make lint    formatting, clippy, licences of all dependencies"
	@echo "make setup   install what is missing: Debian's packages, the Python environment"
	@echo "make build   the release binaries; make install puts them into $(PREFIX)/bin"
	@echo "make bench   the figures that the README claims"
	@echo "make relock  the Debian packages that tests/debian builds with, as Debian has them now"

setup:
	@scripts/setup.sh

setup-tests:
	@scripts/setup.sh --tests

build:
	cargo build --release --locked --package flowkit --package flowapi --package flowauth --package autoflow

# Renamed into place: a running one keeps its file.
install: $(if $(filter target/release/%,$(PROGRAM)),build)
	@mkdir -p $(PREFIX)/bin
	@for program in flowapi flowauth autoflow flowkit; do \
		install -m 755 $(dir $(PROGRAM))$$program $(PREFIX)/bin/.$$program.new && \
		mv $(PREFIX)/bin/.$$program.new $(PREFIX)/bin/$$program || exit 1; \
	done

up: setup install
	$(if $(FLOWKIT_NO_ETL),@echo "FLOWKIT_NO_ETL is set: without FlowETL")
	$(if $(FLOWKIT_NO_NOTEBOOKS),@echo "FLOWKIT_NO_NOTEBOOKS is set: without AutoFlow",$(FLOWKIT) autoflow example)
	@if $(FLOWKIT) status >/dev/null 2>&1; then echo "it runs already, with the programs that it was started with: make down stops it"; \
	else set -x; $(FLOWKIT) up --detach $(WITH); fi
	$(if $(FLOWKIT_NO_NOTEBOOKS),,$(FLOWKIT) auth enrol)
	$(FLOWKIT) db demo $(DEMO)
	$(FLOWKIT) verify
	@$(FLOWKIT) status

down:
	$(FLOWKIT) down

# What `lint` asks for is held too: clippy sees the workspace as it is compiled for the tests.
test: setup-tests
	cargo fmt --all --check
	@scripts/deny.sh
	@scripts/test.sh

test-modules:
	@scripts/test-modules.sh

test-nixpkgs:
	@scripts/test-nixpkgs.sh "$(NIXPKGS)"

docs-options:
	@scripts/test-modules.sh --docs

lint:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- --deny warnings
	@scripts/deny.sh

bench: setup
	cargo bench --locked
	cargo bench --locked -p results --bench results
	cargo bench --locked -p flowauth --bench figures

relock:
	@tests/debian/relock.sh
