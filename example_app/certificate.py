"""A certificate for a day, made by the ``openssl`` program: Python itself cannot make one."""

import shutil
import subprocess

NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"


def make_certificate(folder):
    """Make a certificate and its key in `folder`; return their paths, or None without openssl."""
    openssl = shutil.which("openssl")
    if openssl is None:
        return None
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=localhost", "-addext", NAMES]
    command += ["-keyout", str(key), "-out", str(certificate)]
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603  no shell
    return None if done.returncode else (str(certificate), str(key))
