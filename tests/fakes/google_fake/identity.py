# SPDX-License-Identifier: Apache-2.0
"""Who calls, and what they may: keys, signed assertions, access tokens, permissions."""
import base64
import fnmatch
import functools
import itertools
import json
import secrets

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from .errors import REALM, error_info, status_error, storage_error

CLOUD_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
STORAGE_SCOPES = {"https://www.googleapis.com/auth/devstorage.full_control",
                  "https://www.googleapis.com/auth/devstorage.read_write"}
READ_SCOPES = {"https://www.googleapis.com/auth/cloud-platform.read-only",
               "https://www.googleapis.com/auth/devstorage.read_only",
               "https://www.googleapis.com/auth/logging.read"}
IAM_SCOPE = "https://www.googleapis.com/auth/iam"
KNOWN_SCOPES = {CLOUD_SCOPE, IAM_SCOPE, *STORAGE_SCOPES, *READ_SCOPES, "openid",
                "https://www.googleapis.com/auth/userinfo.email"}
READING = ("get", "list")
SIGN_IN = ("Expected OAuth 2 access token, login cookie or other valid authentication credential. "
           "See https://developers.google.com/identity/sign-in/web/devconsole-project.")


class BadAssertion(Exception):
    """Why a signed assertion is not taken, in Google's words; kind: which check refused it."""

    def __init__(self, kind, text):
        super().__init__(text)
        self.kind = kind


@functools.cache
def private_key(number):
    """Made once in a process: tests start many a cloud, and keys are slow to make."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Key:
    """An RSA key pair with its id.  Keys of one cloud must differ in their number."""

    def __init__(self, number):
        self.kid = secrets.token_hex(20)
        self.private = private_key(number)

    def pem(self):
        return self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption()).decode()

    def sign(self, claims, **header):
        """A JWT; header: members that replace the usual ones."""
        head = {"alg": "RS256", "typ": "JWT", "kid": self.kid, **header}
        signed = ".".join(encode_part(json.dumps(part).encode()) for part in (head, claims))
        signature = self.private.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{encode_part(signature)}"


def encode_part(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode_part(text):
    """Base64url without padding, and nothing else in it."""
    if "=" in text:
        raise ValueError("padding")
    raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if encode_part(raw) != text:
        raise ValueError("not canonical")
    return raw


def open_jwt(text):
    """(header, claims, signed bytes, signature) of a JWT whose signature is not yet checked."""
    try:
        head, claims, signature = text.split(".")
        return (json.loads(decode_part(head)), json.loads(decode_part(claims)),
                f"{head}.{claims}".encode(), decode_part(signature))
    except (ValueError, UnicodeError):
        raise BadAssertion("format", "Bad Request") from None


def check_signature(key, header, signed, signature):
    if header.get("alg") != "RS256":
        raise BadAssertion("signature", "Invalid JWT Signature.")
    try:
        key.private.public_key().verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        raise BadAssertion("signature", "Invalid JWT Signature.") from None


class Token:
    def __init__(self, principal, scopes, expiry):
        self.principal, self.scopes, self.expiry = principal, frozenset(scopes), expiry

    def may(self, service, verb):
        """Whether the scopes cover this: service "storage" and verb "get", say."""
        if CLOUD_SCOPE in self.scopes:
            return True
        if service == "storage" and self.scopes & STORAGE_SCOPES or \
                service == "iamcredentials" and IAM_SCOPE in self.scopes:
            return True
        wanted = {f"https://www.googleapis.com/auth/{s}" for s in {
            "storage": ("devstorage.read_only", "cloud-platform.read-only"),
            "logging": ("logging.read", "cloud-platform.read-only"),
        }.get(service, ("cloud-platform.read-only",))}
        return verb in READING and bool(self.scopes & wanted)


class Identity:
    """Callers hold the lock of the cloud, except for authenticate() and require()."""

    def __init__(self, clock, lock):
        self.clock, self.lock, self._numbers = clock, lock, itertools.count()
        self.projects = {}          # id -> number
        self.service_accounts = {}  # email -> {kid: Key}
        self.disabled_keys = set()
        self.users = {}             # refresh token -> (client id, client secret, email)
        self.tokens = {}
        self.lifetime = 3600
        self.allow, self.deny = [], []  # (principal, project, permission), each a glob

    def new_key(self):
        return Key(next(self._numbers))

    def add_service_account(self, email):
        key = self.new_key()
        self.service_accounts.setdefault(email, {})[key.kid] = key
        return key

    def project(self, name):
        """(id, number) of a project by either, or None."""
        for known, number in self.projects.items():
            if name in (known, number):
                return known, number
        return None

    def issue(self, principal, scopes, lifetime=None):
        """(access token, seconds that it lives)."""
        lifetime = self.lifetime if lifetime is None else lifetime
        name = "ya29.c." + secrets.token_urlsafe(48)
        self.tokens[name] = Token(principal, scopes, self.clock.now() + lifetime)
        return name, lifetime

    def allowed(self, principal, project, permission):
        def listed(rules):
            return any(all(map(fnmatch.fnmatchcase, (principal, project, permission), rule))
                       for rule in rules)
        return listed(self.allow) and not listed(self.deny)

    def _self_signed(self, text, service):
        """A service account's own JWT as the bearer: without exchange, for one service."""
        try:
            header, claims, signed, signature = open_jwt(text)
            key = self.service_accounts.get(claims.get("iss"), {}).get(header.get("kid"))
            if key is None or key.kid in self.disabled_keys:
                return None
            check_signature(key, header, signed, signature)
        except BadAssertion:
            return None
        now = self.clock.now()
        host = f"https://{'storage' if service == 'storage' else service}.googleapis.com/"
        if not claims.get("iat", 0) - 600 <= now < claims.get("exp", 0) <= now + 4200:
            return None
        if "scope" in claims:
            return Token(claims["iss"], claims["scope"].split(), claims["exp"])
        if claims.get("aud") == host and claims.get("sub") == claims["iss"]:
            return Token(claims["iss"], {CLOUD_SCOPE}, claims["exp"])
        return None

    def authenticate(self, request, service, verb):
        """The principal, or 401 or 403 as this service says it."""
        scheme, _, name = request.headers.get("Authorization", "").partition(" ")
        if not scheme:
            raise _missing(service, verb)
        with self.lock:
            token = self.tokens.get(name)
            if token is None and name.startswith("eyJ"):
                token = self._self_signed(name, service)
        if scheme.lower() != "bearer" or token is None or token.expiry <= self.clock.now():
            raise _rejected(service)
        request.principal = token.principal
        if not token.may(service, verb):
            raise _too_narrow(service)
        return token.principal

    def require(self, principal, project, permission, resource):
        """403 unless the principal has the permission in the project."""
        with self.lock:
            if self.allowed(principal, project, permission):
                return
        if permission.startswith("storage."):
            what = "object" if permission.startswith("storage.objects") else "bucket"
            raise storage_error(
                403, f"{principal} does not have {permission} access to the Google Cloud Storage "
                     f"{what}. Permission '{permission}' denied on resource (or it may not exist).",
                "forbidden")
        raise status_error(
            "PERMISSION_DENIED",
            f"Permission '{permission}' denied on resource '{resource}' (or it may not exist).",
            [error_info("IAM_PERMISSION_DENIED", permission.partition(".")[0] + ".googleapis.com",
                        permission=permission, resource=resource)])


def _missing(service, verb):
    headers = [("WWW-Authenticate", REALM)]
    if service == "storage":
        return storage_error(401, f"Anonymous caller does not have storage.objects.{verb} access "
                                  "to the Google Cloud Storage object. Permission "
                                  f"'storage.objects.{verb}' denied on resource (or it may not "
                                  "exist).", "required", ("header", "Authorization"), headers)
    return status_error("UNAUTHENTICATED",
                        "Request is missing required authentication credential. " + SIGN_IN,
                        [error_info("CREDENTIALS_MISSING",
                                    service=f"{service}.googleapis.com")], headers)


def _rejected(service):
    headers = [("WWW-Authenticate", REALM + ', error="invalid_token"')]
    if service == "storage":
        return storage_error(401, "Invalid Credentials", "authError",
                             ("header", "Authorization"), headers)
    return status_error("UNAUTHENTICATED",
                        "Request had invalid authentication credentials. " + SIGN_IN,
                        [error_info("ACCESS_TOKEN_EXPIRED",
                                    service=f"{service}.googleapis.com")], headers)


def _too_narrow(service):
    text = "Request had insufficient authentication scopes."
    headers = [("WWW-Authenticate", REALM + f', error="insufficient_scope", scope="{CLOUD_SCOPE}"')]
    if service == "storage":
        return storage_error(403, text, "insufficientPermissions", headers=headers)
    return status_error("PERMISSION_DENIED", text, [
        error_info("ACCESS_TOKEN_SCOPE_INSUFFICIENT", service=f"{service}.googleapis.com")],
        headers)
