"""Where the demo can be reached; the terminal and the page say the same."""

import shlex

API = "api/connection"


def commands(environ):
    """Return pairs of what to reach and what to type, as far as the environment says where.

    Args:
        environ: ``DEMO_URL``, ``DEMO_TLS_URL`` and ``DEMO_SOCKET``.
    """
    plain, tls, unix = (environ.get(f"DEMO_{name}") for name in ("URL", "TLS_URL", "SOCKET"))
    found = {}
    if plain:
        found |= {"The page": plain, "Over TCP": f"curl {plain}{API}"}
    if tls:
        found |= {"The page, over TLS": tls, "Over TLS": f"curl --insecure {tls}{API}"}
    if unix:
        curl = f"curl --unix-socket {shlex.quote(unix)} http://localhost/"
        found |= {"Over a UNIX socket": curl + API}
    return found


def url(scheme, host, port):
    """Return the address of a page; a server that listens on all hosts is on this one, too."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"{scheme}://[{host}]:{port}/" if ":" in host else f"{scheme}://{host}:{port}/"
