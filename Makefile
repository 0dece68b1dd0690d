# Each target is one plain command in the course's own environment, which the first one makes.
# UV_TORCH_BACKEND=cpu make book   takes PyTorch's small CPU-only build;  make PYTHON=python3.13 book   another Python.
PYTHON ?= python3
BIN = .venv/bin
.DEFAULT_GOAL = book
.PHONY: book pdf lecture test serve bench rehearsal lint links browser clean

# uv makes the installation whole or says what is missing; the stamp is written only when everything is there.
.venv/ready: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "This course needs Python 3.11 or newer, and there is no $(PYTHON). Name another: make PYTHON=python3.13 book"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("This course needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.13 book")'
	@$(BIN)/uv --version >/dev/null 2>&1 || { $(PYTHON) -m venv --clear .venv && $(BIN)/python -m pip install -q uv; } || { echo "Could not make .venv: the package registry must be reachable, and on Debian or Ubuntu the package python3-venv installed."; exit 1; }
	$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python -c constraints.txt -e ".[book,test]" || { echo "The installation did not finish. Is the package registry reachable? Run the same command again to go on."; exit 1; }
	@touch $@

book: .venv/ready
	$(BIN)/python -m book.build

pdf: book
	$(BIN)/python -m book.pdf

lecture: .venv/ready
	$(BIN)/python -m lecture.build

test: lint book
	$(BIN)/pytest -n auto --dist loadfile --cov=course_utils

serve: book
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html 8000

bench: .venv/ready
	$(BIN)/python -m benchmarks.bench_alignments
	$(BIN)/python -m benchmarks.bench_models
	$(BIN)/python -m benchmarks.bench_training
	$(BIN)/python -m benchmarks.bench_gradcam
	$(BIN)/python -m benchmarks.bench_live_model
	$(BIN)/python -m benchmarks.bench_gpu

rehearsal: .venv/ready
	$(BIN)/python -m book.rehearse

lint: .venv/ready
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/codespell && $(BIN)/lint-imports

links: .venv/ready
	$(BIN)/python -m book.tools.address

browser: .venv/ready
	if [ "$$(id -u)" != 0 ]; then $(BIN)/playwright install chromium; \
	else apt-get update && apt-get install -y chromium && $(BIN)/python -m book.tools.browser || $(BIN)/playwright install --with-deps chromium; fi

clean:
	rm -rf _build lecture/_build lecture/_build.new .venv .pytest_cache .ruff_cache .coverage
