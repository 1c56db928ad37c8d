"""Keys, certificates and kubeconfig of one cluster, made by openssl at its start and thrown away with it.

Elliptic curve keys, because RSA keys cost seconds on a busy machine. CA certificates carry keyUsage, which
Python 3.13 insists on. The administrator authenticates by a random token.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from tests.cluster.shell import run

_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_NAMES = [
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
]


def create(folder: Path, addresses: list[str]) -> str:
    """Write every key and certificate into `folder` and return the administrator's token.

    `ca` signs the API server's certificate for `addresses`; `front-ca` signs the one with which the API
    server presents itself to extension servers such as metrics-server; `sa.key` signs service account tokens.
    """
    folder.mkdir(parents=True)
    for ca in ("ca", "front-ca"):
        _authority(folder, ca)
    names = [f"DNS:{name}" for name in (*_NAMES, "localhost")] + [f"IP:{address}" for address in addresses]
    usage = "keyUsage=critical,digitalSignature,keyEncipherment\n"
    alternatives = f"subjectAltName={','.join(names)}\n"
    _signed(folder, "api", "ca", "kube-apiserver", f"{usage}extendedKeyUsage=serverAuth\n{alternatives}")
    _signed(folder, "front", "front-ca", "front-proxy", f"{usage}extendedKeyUsage=clientAuth\n")
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", folder / "sa.key")
    token = secrets.token_hex(16)
    (folder / "tokens.csv").write_text(f"{token},admin,admin,system:masters\n")
    return token


def write_kubeconfig(path: Path, server: str, ca: Path, token: str) -> None:
    """A kubeconfig for the administrator, self-contained so that it can be copied anywhere."""
    cluster = {"server": server, "certificate-authority-data": _base64(ca)}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        "current-context": "test",
    }
    path.write_text(json.dumps(config, indent=1))
    path.chmod(0o600)


def _base64(path: Path) -> str:
    return run("openssl", "base64", "-A", "-in", path)


def _authority(folder: Path, name: str) -> None:
    usage = "keyUsage=critical,keyCertSign,cRLSign"
    files = ("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt")
    run("openssl", "req", "-x509", *_CURVE, *files, "-subj", f"/CN={name}", "-days", "30", "-addext", usage)


def _signed(folder: Path, name: str, ca: str, subject: str, extensions: str) -> None:
    request, extension_file = folder / f"{name}.csr", folder / f"{name}.ext"
    extension_file.write_text(extensions)
    run(
        "openssl",
        "req",
        *_CURVE,
        "-keyout",
        folder / f"{name}.key",
        "-out",
        request,
        "-subj",
        f"/CN={subject}",
    )
    signer = ("-CA", folder / f"{ca}.crt", "-CAkey", folder / f"{ca}.key", "-CAcreateserial")
    lifetime = ("-days", "30", "-extfile", extension_file)
    run("openssl", "x509", "-req", "-in", request, *signer, "-out", folder / f"{name}.crt", *lifetime)
