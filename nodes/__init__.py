"""The pack's nodes, by family of job. Beside them only `host/` and `extension.py` import ComfyUI."""
