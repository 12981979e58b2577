# Two commands: `make quickstart` shows the whole job, `make test` checks it.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test test-slow clean

quickstart: .venv/installed
	$(BIN)/python build_dataset.py --train data/sample/sample.bio --out_dir data/sample --val_size 80 --test_size 100
	$(BIN)/python train.py --data_dir data/sample --bert_model_dir pretrained/zh-small --model_dir experiments/sample --overwrite
	$(BIN)/python evaluate.py --data_dir data/sample --model_dir experiments/sample --split test
	$(BIN)/python predict.py --model_dir experiments/sample --text 林晓梅昨天从北京飞往巴黎，出席法国教育部的会议。

test: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	OMP_NUM_THREADS=1 $(BIN)/python -W error -m pytest -n auto

test-slow: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -W error -m pytest -n auto -m slow

.venv/installed: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/installed-dev: requirements-dev.txt requirements.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@ .venv/installed

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis
