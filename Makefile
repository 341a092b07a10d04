# make demo   the whole job on the embedded catalogue: text -> semantic IDs -> training -> search, with a table
# make test   every test
# Both make the environment first: nothing but Python (>= 3.10), a C++17 compiler (GCC 11, Clang 12) and make is needed.
PYTHON ?= python3
# The CPU build of torch is enough for everything here; on a GPU machine set TORCH=torch to take the default build.
TORCH ?= torch==2.13.0
VENV ?= .venv
BIN := $(VENV)/bin
ENV_STAMP := $(VENV)/.stamp-env
BUILD_STAMP := $(VENV)/.stamp-build
TRITON_STAMP := $(VENV)/.stamp-triton
NATIVE_SOURCES := $(shell find csrc python -type f 2>/dev/null) CMakeLists.txt pyproject.toml

.PHONY: demo test stress env lint format typecheck cpp-test sanitize triton triton-values triton-code wheel bench clean

env: $(BUILD_STAMP)

# torch goes first and alone: anything that pulls it in as a dependency would fetch the newest, gigabytes larger build.
$(ENV_STAMP): constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet -c constraints.txt scikit-build-core pybind11 cmake ninja
	touch $@

$(BUILD_STAMP): $(ENV_STAMP) $(NATIVE_SOURCES)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/pip install --quiet --no-build-isolation -c constraints.txt -e ".[dev]"
	touch $@

demo: env
	$(BIN)/onesearch-fast demo

test: env
	$(BIN)/pytest

# 32 threads search for a minute, and find what one finds, without growth of memory.
stress: env
	ONESEARCH_STRESS_SECONDS=60 $(BIN)/pytest tests/unit/test_engine_threads.py

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	find csrc python tests/cpp -name '*.h' -o -name '*.cc' -o -name '*.cu' -o -name '*.cuh' | xargs $(BIN)/clang-format --dry-run --Werror

format: env
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .
	find csrc python tests/cpp -name '*.h' -o -name '*.cc' -o -name '*.cu' -o -name '*.cuh' | xargs $(BIN)/clang-format -i

typecheck: env
	$(BIN)/mypy onesearch_fast

# SANITIZE= gives the plain build; `make sanitize` runs the same tests under each sanitizer.
cpp-test: env
	PATH="$(abspath $(BIN)):$$PATH" cmake -S . -B build/cpp$(SANITIZE) -G Ninja -DONESEARCH_TESTS=ON -DONESEARCH_PYTHON=OFF -DONESEARCH_CUDA=OFF -DONESEARCH_SANITIZE=$(SANITIZE)
	PATH="$(abspath $(BIN)):$$PATH" cmake --build build/cpp$(SANITIZE)
	PATH="$(abspath $(BIN)):$$PATH" ctest --test-dir build/cpp$(SANITIZE) --output-on-failure

sanitize:
	$(MAKE) cpp-test SANITIZE=address,undefined
	$(MAKE) cpp-test SANITIZE=thread

# A GPU's torch brings its own Triton; a CPU's has none.
$(TRITON_STAMP): $(ENV_STAMP)
	$(BIN)/pip install --quiet -c constraints.txt triton
	touch $@

# Without a GPU, side by side with -j2: the values of every kernel in Triton's interpreter, where float16 is
# read and written as bfloat16 is; and its compilation for each architecture.
triton: triton-values triton-code

triton-values: env $(TRITON_STAMP)
	TRITON_INTERPRET=1 $(BIN)/pytest tests/parity tests/triton -k "triton and not torch.float16"

triton-code: env $(TRITON_STAMP)
	$(BIN)/pytest tests/triton

# The wheel is built in isolation, installed into an environment of its own, and tested from outside this folder.
wheel: env
	rm -rf dist build/wheel-env
	$(BIN)/python -m build --wheel --outdir dist .
	$(PYTHON) -m venv build/wheel-env
	build/wheel-env/bin/pip install --quiet $(TORCH)
	build/wheel-env/bin/pip install --quiet -c constraints.txt "$$(ls dist/*.whl)[serve]" pytest pytest-timeout
	cd build && wheel-env/bin/python -m pytest -p no:cacheprovider -c /dev/null --rootdir=. --import-mode=importlib ../tests/packaging

bench: env
	OMP_NUM_THREADS=2 $(BIN)/pytest benchmarks --benchmark-only --benchmark-json=build/benchmark.json -o python_files='bench_*.py'

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache
