# One-line calls of scripts/dev.py, which works without make too (Windows): python scripts/dev.py help
PYTHON ?= python3
.DEFAULT_GOAL := help
.PHONY: help demo test lint install train-examples adherence example-workflows clean

help demo test lint install train-examples adherence example-workflows clean:
	@$(PYTHON) scripts/dev.py $@ -- $(ARGS)
