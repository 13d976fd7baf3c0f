"""Writes folders that start like a ComfyUI, for what a real one does not do on demand (die, hang, ignore Ctrl-C)."""

from __future__ import annotations

import sys
from pathlib import Path

from comfyui_eridiffusion.dev.host_install import HostInstall

SERVE = """
import argparse, http.server, json, sys
parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int)
port = parser.parse_known_args()[0].port
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"system": {"argv": sys.argv}}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("127.0.0.1", port), Handler)
"""
RUN = SERVE + "try:\n    server.serve_forever()\nexcept KeyboardInterrupt:\n    print('Stopped server')\n"
STUBBORN = SERVE + (
    "while True:\n    try:\n        server.serve_forever()\n    except KeyboardInterrupt:\n        print('ignored')\n"
)


def write_host(folder: Path, main: str = RUN, origin: str = "COMFYUI_PATH") -> HostInstall:
    """Write a host whose `main.py` is `main`."""
    (folder / "comfy").mkdir(parents=True)
    (folder / "nodes.py").write_text("")
    (folder / "main.py").write_text(main)
    (folder / "comfyui_version.py").write_text('__version__ = "9.9.9"\n')
    return HostInstall(folder, Path(sys.executable), "9.9.9", origin)
