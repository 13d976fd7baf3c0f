# One-line calls of dev/tasks.py, which works without make too (Windows): python dev/tasks.py help
PYTHON ?= python3
.DEFAULT_GOAL := help
.PHONY: help demo test test-pure test-ray lint fuzz bench install train-examples adherence example-workflows clean

help demo test test-pure test-ray lint fuzz bench install train-examples adherence example-workflows clean:
	@$(PYTHON) dev/tasks.py $@ -- $(ARGS)
