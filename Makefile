# Everything runs in .venv, which scripts/setup.sh makes (it reads PYTHON, TORCH_VERSION and TORCH_INDEX_URL).
BIN := .venv/bin
READY := .venv/.ready

.PHONY: test test-all lint format

test: $(READY)  ## make the environment where it is missing, then run the tests
	$(BIN)/python -m pytest -m "not slow"

test-all: $(READY)  ## the slow tests too
	$(BIN)/python -m pytest

lint: $(READY)  ## what the checks ask of the code's form and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/ty check --python .venv

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

$(READY): pyproject.toml scripts/setup.sh
	scripts/setup.sh .venv
	touch $(READY)
