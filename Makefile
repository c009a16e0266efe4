# Each target is `python -m tasks TARGET`, which makes its own environment: see tasks.py.
# Another Python: make lab PYTHON=python3.12    Arguments for JupyterLab: make lab ARGS="--port 9999"
PYTHON ?= python3
ARGS ?=

.PHONY: lab test test-grading book slides assignments bench workbook clean
lab test test-grading book slides assignments bench workbook clean:
	@$(PYTHON) -m tasks $@ $(ARGS)
