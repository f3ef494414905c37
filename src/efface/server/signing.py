"""Signatures of OpenDSR: SHA-256 with the processor's certificate, over the very bytes of a body."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate

from efface.documents import read_bytes
from efface.errors import InputError

MOST = 1 << 20


@dataclass(frozen=True)
class Signer:
    """The processor's domain, its certificate (PEM), and the key to that."""

    domain: str
    certificate: bytes
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

    def headers(self, body: bytes) -> dict[str, str]:
        """What an answer or a callback with this body carries."""
        if isinstance(self.key, rsa.RSAPrivateKey):
            signature = self.key.sign(body, padding.PKCS1v15(), hashes.SHA256())
        else:
            signature = self.key.sign(body, ec.ECDSA(hashes.SHA256()))
        return {
            "X-OpenDSR-Processor-Domain": self.domain,
            "X-OpenDSR-Signature": base64.b64encode(signature).decode(),
        }


def read_signer(domain: str, certificate: Path, key: Path) -> Signer:
    """The signer of two PEM files; raises `InputError` where they are no certificate and its key (RSA or elliptic)."""
    pem = read_bytes(certificate, MOST, "certificate")
    try:
        public = load_pem_x509_certificate(pem).public_key()
        private = load_pem_private_key(read_bytes(key, MOST, "key of the certificate"), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InputError(
            f"{certificate} and {key} are no certificate and its key in PEM, without a password"
        ) from None
    if not isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise InputError(f"{key} is neither an RSA nor an elliptic-curve key")
    if private.public_key() != public:
        raise InputError(f"{key} is not the key of {certificate}")
    return Signer(domain, pem, private)
