# Two commands do it all on a fresh machine: `make quickstart` runs the main job, `make test` passes the tests.
# Every target makes .venv first where it is not there; PYTHON names another interpreter (>= 3.11).

PYTHON ?= python3
BIN = .venv/bin

.PHONY: quickstart test slow check recipes bench bench-tables bench-pictures bench-text bench-time bench-rank clean

quickstart: .venv/ready
	$(BIN)/luban train recipes/adult.yaml
	rm -f runs/adult.csv && $(BIN)/luban data get adult -o runs/adult.csv
	$(BIN)/luban evaluate last runs/adult.csv
	$(BIN)/luban predict last runs/adult.csv -o runs/adult-predictions.csv
	head -4 runs/adult-predictions.csv
	@echo
	@echo "The run is the folder printed above; its model/ is what travels. Next, with your own table (source .venv/bin/activate first):"
	@echo "  luban train YOUR.csv --target COLUMN     luban predict last NEW.csv -o predictions.csv     luban --help"

test: .venv/ready-dev
	$(BIN)/python -m pytest

slow: .venv/ready-dev
	$(BIN)/python -m pytest -m slow

check: .venv/ready-dev
	$(BIN)/ruff check src tests bench
	$(BIN)/ruff format --check src tests bench
	$(BIN)/mypy

recipes: .venv/ready
	set -e; for recipe in $$(grep -L model.path= recipes/*.yaml); do $(BIN)/luban train $$recipe; done
	$(if $(LUBAN_MINILM),set -e; for recipe in $$(grep -l model.path= recipes/*.yaml); do $(BIN)/luban train $$recipe --set model.path=$(LUBAN_MINILM); done)

bench: bench-tables bench-pictures bench-text bench-time bench-rank

bench-tables: .venv/ready-dev
	$(BIN)/python bench/tables.py

bench-pictures: .venv/ready-dev
	$(BIN)/python bench/pictures.py

bench-text: .venv/ready-dev
	$(BIN)/python bench/text.py

bench-time: .venv/ready-dev
	$(BIN)/python bench/time.py

bench-rank: .venv/ready-dev
	$(BIN)/python bench/rank.py

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: luban needs Python >= 3.11, $(PYTHON) is %s; say make PYTHON=python3.12 ..." % sys.version.split()[0])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[all]"
	touch $@

.venv/ready-dev: .venv/ready
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf .venv bench/.venvs bench/.data build src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
