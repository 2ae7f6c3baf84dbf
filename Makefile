# Two commands for newcomers: `make demo` and `make test`. Each makes a virtual environment of its own.
PYTHON ?= python3
DEMO := demo
SIGHTLINE := .venv-demo/bin/sightline

.PHONY: demo test lint bench clean

.venv-demo/installed: pyproject.toml
	$(PYTHON) -m venv .venv-demo
	.venv-demo/bin/python -m pip install --quiet -e .
	touch $@

.venv-test/installed: pyproject.toml
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/python -m pip install --quiet -e '.[dev,train,openvino,tensorrt-rtx,parquet]'
	touch $@

# Render ten ordinary drives and one with surprises, learn from the ten, watch the one.
demo: .venv-demo/installed
	@rm -rf $(DEMO) && mkdir -p $(DEMO)/normal
	@echo "rendering ten ordinary drives and one with six surprises"
	@( for seed in 1 2 3 4 5 6 7 8 9 10; do \
	     $(SIGHTLINE) render --out $(DEMO)/normal/highway_$$seed.mp4 --seed $$seed --seconds 20 --fps 10 2>/dev/null || exit 1; \
	   done ) & normal=$$!; \
	 $(SIGHTLINE) render --demo --out $(DEMO)/drive.mp4 --fps 10 && wait $$normal
	@echo && echo '$$ sightline fit --normal $(DEMO)/normal --out $(DEMO)/highway.bundle'
	@$(SIGHTLINE) fit --normal $(DEMO)/normal --out $(DEMO)/highway.bundle
	@echo && echo '$$ sightline replay $(DEMO)/drive.mp4 --bundle $(DEMO)/highway.bundle --report $(DEMO)/report.html'
	@$(SIGHTLINE) replay $(DEMO)/drive.mp4 --bundle $(DEMO)/highway.bundle \
	   --events $(DEMO)/events.jsonl --scores $(DEMO)/scores.csv --report $(DEMO)/report.html
	@echo && .venv-demo/bin/python benchmarks/check_planted.py $(DEMO)/drive.truth.json $(DEMO)/events.jsonl

# Debian packages give the tests a real RTSP server and a real browser; without them those tests say so and skip.
# One thread for torch's small networks: on a busy machine its threads wait for each other far longer than they work.
test: .venv-test/installed
	sh tests/install-debian-packages.sh
	OMP_NUM_THREADS=1 .venv-test/bin/python -m pytest || \
	  { code=$$?; grep -v 'pluggy/\|_pytest/\|frozen\|^Extension' .pytest_cache/crash.txt; exit $$code; }

lint: .venv-test/installed
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .
	.venv-test/bin/mypy
	.venv-test/bin/lint-imports

bench: .venv-test/installed
	.venv-test/bin/python benchmarks/bench_replay.py
	.venv-test/bin/python benchmarks/bench_cameras.py
	.venv-test/bin/python benchmarks/bench_kde_fit.py
	.venv-test/bin/python benchmarks/simulate_budget.py

clean:
	rm -rf .venv-demo .venv-test $(DEMO)
