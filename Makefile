# Everything runs in .venv, which scripts/setup.sh creates (it reads PYTHON, TORCH_VERSION and TORCH_INDEX_URL).
BIN := .venv/bin
DEMO_READY := .venv/.ready-demo
READY := .venv/.ready
VIDEO := examples/sample/talker.mp4
OUT := demo

.PHONY: demo test test-all lint docs audit format

demo: $(DEMO_READY)  ## speech from the silent video of a face: make demo [VIDEO=mine.mp4] [OUT=folder]
	@mkdir -p "$(OUT)"
	$(BIN)/hf-lip2speech speak "$(VIDEO)" -o "$(OUT)/speech.wav" --video "$(OUT)/speech.mp4" --plot "$(OUT)/speech.png"

test: $(READY)  ## create the environment if it is missing, then run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto --dist loadfile

test-all: $(READY)  ## the slow tests too
	$(BIN)/python -m pytest

lint: $(READY)  ## linter, formatter, type checker
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/ty check --python .venv

docs: $(READY)  ## the documentation site, in site/; a link or reference that leads nowhere fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

audit: $(READY)  ## known vulnerabilities of the installed packages, where they can be looked up
	scripts/audit.sh .venv

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

$(DEMO_READY): pyproject.toml scripts/setup.sh
	scripts/setup.sh .venv plot
	touch $(DEMO_READY)

$(READY): pyproject.toml scripts/setup.sh
	scripts/setup.sh .venv
	touch $(READY)
