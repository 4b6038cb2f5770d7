"""The Content-Security-Policy of a page: its own style and script may be obeyed, by their hashes, and nothing else.

Knows nothing of what is on the page."""

from __future__ import annotations

import base64
import hashlib


def element(style: str, script: str) -> str:
    """The `<meta>` for a page with this style and this script, exactly as they stand in it: nothing else runs, nothing
    is fetched, nothing is sent."""
    rules = (
        "default-src 'none'", f"style-src '{_hash(style)}'", f"script-src '{_hash(script)}'", "base-uri 'none'",
        "form-action 'none'",
    )  # fmt: skip
    return f'<meta http-equiv="Content-Security-Policy" content="{"; ".join(rules)}">'


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
