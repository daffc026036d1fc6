"""Refuse what another site's page has a browser ask for."""

from flask import request


def refuse_others():
    """Answer 403 unless the own page asks, or a program that is not a browser.

    Browsers say which page it was in ``Sec-Fetch-Site``.
    """
    if request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
        return "This view is for its own page.\n", 403
    return None
