"""Adds the pack's routes to the running ComfyUI."""

from __future__ import annotations

from server import PromptServer

from . import routes, run_gallery, run_pictures, run_sweep, run_votes, run_writes, runs_routes


def register() -> None:
    """Add the routes once, before ComfyUI's `add_routes`; without a server there are none."""
    server = getattr(PromptServer, "instance", None)
    if server is None or any(getattr(route, "path", "").startswith(f"{routes.PREFIX}/") for route in server.routes):
        return
    for part in (routes, runs_routes, run_pictures, run_writes, run_gallery, run_sweep, run_votes):
        for method, path, handler in part.ROUTES:
            server.routes.route(method, f"{routes.PREFIX}{path}")(routes.answered(handler))
