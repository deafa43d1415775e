# `make help` prints what there is. Everything runs in .venv, made on first use and again when the pins change.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Most tests are spread over so many; those with Kafka, or with times to hold, run one after the other.
PROCESSES ?= 2
STAMP := $(VENV)/.installed
.DEFAULT_GOAL := help

help: ## print this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,data,report,onnx,s3,dev]'
	touch $@

install: $(STAMP) ## make the virtual environment

demo: $(STAMP) ## run the demo; DATA="FILE FILE" for real data, ARGS="..." for further options
	$(BIN)/tickpilot demo $(if $(DATA),$(foreach file,$(DATA),--data $(file))) $(ARGS)

test: $(STAMP) ## run the tests, real Kafka included; ARGS="..." chooses
ifdef ARGS
	$(BIN)/python -m pytest -q $(ARGS)
else
	$(BIN)/python -m pytest -q -m "not (kafka or alone or drill)" -n $(PROCESSES) --dist loadfile --no-loadscope-reorder
	$(BIN)/python -m pytest -q -m "(kafka or alone) and not drill"
endif

drills: $(STAMP) ## run the long drills (an hour); figures go to docs/results
	$(BIN)/python -m pytest -q -m drill $(ARGS)

lint: $(STAMP) ## formatter, linter, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(STAMP) ## run every benchmark; each prints one JSON object
	@for bench in tests/bench/bench_*.py; do $(BIN)/python $$bench || exit 1; done

bench-%: $(STAMP)
	@$(BIN)/python tests/bench/bench_$*.py

kafka: $(STAMP) ## start a local Apache Kafka on port 9092 (JDK 17 and Maven)
	$(BIN)/python -m agents.lifecycle.local_kafka start

kafka-stop: $(STAMP) ## stop it
	$(BIN)/python -m agents.lifecycle.local_kafka stop

docs: $(STAMP) ## check that the commands in the documentation exist
	$(BIN)/python -m pytest -q tests/rules

.PHONY: help install demo test drills lint bench kafka kafka-stop docs
