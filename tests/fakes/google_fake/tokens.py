# SPDX-License-Identifier: Apache-2.0
"""The endpoints that hand out access tokens: OAuth 2, STS, IAM credentials, metadata server."""
import re
import urllib.parse

from .clock import stamp
from .errors import Refused, error_info, invalid, oauth_error, status_error
from .identity import (BadAssertion, CLOUD_SCOPE, KNOWN_SCOPES, check_signature, open_jwt)
from .web import Response

TOKEN_AUDIENCE = "https://oauth2.googleapis.com/token"
JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
EXCHANGE_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TYPE = "urn:ietf:params:oauth:token-type:access_token"
SUBJECT_TYPES = ("urn:ietf:params:oauth:token-type:jwt",
                 "urn:ietf:params:oauth:token-type:id_token")
MAX_LIFETIME = 3600
SKEW = 300
IMPERSONATE = re.compile(r"/v1/projects/-/serviceAccounts/([^/:]+):generateAccessToken")
METADATA = "/computeMetadata/v1/"
TIMEFRAME = ("Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable "
             "timeframe. Check your iat and exp values in the JWT claim.")


def form(request):
    """The members of an urlencoded body, each once."""
    if request.content_type() != "application/x-www-form-urlencoded":
        raise oauth_error("invalid_request", "Missing required parameter: grant_type")
    try:
        pairs = urllib.parse.parse_qsl(request.body.all().decode("ascii"), strict_parsing=True,
                                       keep_blank_values=True)
    except (UnicodeDecodeError, ValueError):
        raise oauth_error("invalid_request", "Bad Request") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise oauth_error("invalid_request", "Parameter specified more than once")
    return fields


def read_scopes(text):
    scopes = text.split() if isinstance(text, str) else None
    if not scopes or not set(scopes) <= KNOWN_SCOPES:
        raise oauth_error("invalid_scope",
                          "Invalid OAuth scope or ID token audience provided.")
    return scopes


class TokenService:
    def __init__(self, cloud):
        self.cloud, self.identity, self.clock = cloud, cloud.identity, cloud.clock
        # What the metadata server speaks for, and the one provider of outside identities.
        self.instance = None
        self.provider = None  # {"audience", "issuer", "key", "pool"}

    def route(self, request):
        post, get = request.method == "POST", request.method == "GET"
        if post and request.path == "/token":
            return "token.grant", self.grant
        if post and request.path == "/v1/token":
            return "sts.token", self.exchange
        if post and (match := IMPERSONATE.fullmatch(request.path)):
            return "iam.generateAccessToken", lambda r: self.impersonate(
                r, urllib.parse.unquote(match[1]))
        if get and request.path.startswith(METADATA):
            return "metadata.get", self.metadata
        if get and request.path == "/idp/token":
            return "idp.token", self.outside_token
        return None

    # OAuth 2: /token

    def grant(self, request):
        fields = form(request)
        kind = fields.get("grant_type")
        if kind == JWT_GRANT:
            principal, scopes = self.service_account(fields, request.server.url)
        elif kind == "refresh_token":
            principal, scopes = self.user(fields), [CLOUD_SCOPE]
        elif kind is None:
            raise oauth_error("invalid_request", "Missing required parameter: grant_type")
        else:
            raise oauth_error("unsupported_grant_type", f"Invalid grant_type: {kind}")
        request.principal = principal
        with self.cloud.lock:
            token, lifetime = self.identity.issue(principal, scopes)
        return Response(value={"access_token": token, "expires_in": max(lifetime - 1, 0),
                               "token_type": "Bearer"}, headers=[("Cache-Control", "no-store")])

    def service_account(self, fields, own_url):
        try:
            header, claims, signed, signature = open_jwt(fields.get("assertion", ""))
            with self.cloud.lock:
                keys = self.identity.service_accounts.get(claims.get("iss"))
                if keys is None:
                    raise BadAssertion("account", "Invalid grant: account not found")
                key = keys.get(header.get("kid"))
                if key is None or key.kid in self.identity.disabled_keys:
                    raise BadAssertion("signature", "Invalid JWT Signature.")
            check_signature(key, header, signed, signature)
            self.check_times(claims)
        except BadAssertion as e:
            raise oauth_error("invalid_grant", str(e)) from None
        if claims.get("aud") not in (TOKEN_AUDIENCE, own_url + "/token"):
            raise oauth_error("invalid_grant", "Invalid JWT: Failed audience check.")
        if claims.get("sub") not in (None, claims["iss"]):
            raise oauth_error("unauthorized_client",
                              "Client is unauthorized to retrieve access tokens using this method, "
                              "or client not authorized for any of the scopes requested.", 401)
        return claims["iss"], read_scopes(claims.get("scope"))

    def check_times(self, claims):
        iat, exp, now = claims.get("iat"), claims.get("exp"), self.clock.now()
        if not all(isinstance(t, (int, float)) and not isinstance(t, bool) for t in (iat, exp)):
            raise BadAssertion("times", TIMEFRAME)
        if exp - iat > MAX_LIFETIME or exp <= iat or iat > now + SKEW or exp <= now - SKEW:
            raise BadAssertion("times", TIMEFRAME)

    def user(self, fields):
        with self.cloud.lock:
            known = self.identity.users.get(fields.get("refresh_token"))
            clients = {client: secret for client, secret, _ in self.identity.users.values()}
        if fields.get("client_id") not in clients:
            raise oauth_error("invalid_client", "The OAuth client was not found.", 401)
        if clients[fields["client_id"]] != fields.get("client_secret"):
            raise oauth_error("invalid_client", "Unauthorized", 401)
        if known is None or known[0] != fields["client_id"]:
            raise oauth_error("invalid_grant", "Token has been expired or revoked.")
        return known[2]

    # STS: /v1/token, and who vouches for the subject

    def exchange(self, request):
        fields = form(request)
        if fields.get("grant_type") != EXCHANGE_GRANT:
            raise oauth_error("invalid_request", "Invalid value for \"grant_type\".")
        if fields.get("requested_token_type") != ACCESS_TYPE:
            raise oauth_error("invalid_request", "Invalid value for \"requested_token_type\".")
        if fields.get("subject_token_type") not in SUBJECT_TYPES:
            raise oauth_error("invalid_request", "Invalid value for \"subject_token_type\".")
        if not self.provider or fields.get("audience") != self.provider["audience"]:
            raise oauth_error("invalid_target",
                              "The target service indicated by the \"audience\" parameters is "
                              "invalid. This might either be because the pool or provider is "
                              "disabled or deleted or because it doesn't exist.")
        scopes = read_scopes(fields.get("scope"))
        principal = self.outside_principal(fields.get("subject_token", ""))
        request.principal = principal
        with self.cloud.lock:
            token, lifetime = self.identity.issue(principal, scopes)
        return Response(value={"access_token": token, "issued_token_type": ACCESS_TYPE,
                               "token_type": "Bearer", "expires_in": lifetime})

    def outside_principal(self, subject_token):
        provider, now = self.provider, self.clock.now()
        try:
            header, claims, signed, signature = open_jwt(subject_token)
            check_signature(provider["key"], header, signed, signature)
        except BadAssertion:
            raise oauth_error("invalid_grant",
                              "Error connecting to the given credential's issuer.") from None
        if claims.get("iss") != provider["issuer"]:
            raise oauth_error("invalid_grant", "The issuer in ID Token "
                                               f"{claims.get('iss')} does not match the expected "
                                               "ones.")
        if claims.get("aud") != "https:" + provider["audience"]:
            raise oauth_error("invalid_grant", "The audience in ID Token does not match the "
                                               "expected audience.")
        if not isinstance(claims.get("exp"), (int, float)) or claims["exp"] <= now:
            raise oauth_error("invalid_grant", "ID Token issued at "
                                               f"{claims.get('iat')} is stale to sign-in.")
        return f"principal://iam.googleapis.com/{provider['pool']}/subject/{claims['sub']}"

    def subject_token(self, lifetime=3600):
        now = int(self.clock.now())
        return self.provider["key"].sign({
            "iss": self.provider["issuer"], "aud": "https:" + self.provider["audience"],
            "sub": "build-agent", "iat": now, "exp": now + lifetime})

    def outside_token(self, request):
        """The URL that an external_account file may name: another company's token server."""
        if request.headers.get("X-Idp-Secret") != "let-me-in":
            raise Refused(403, {"message": "X-Idp-Secret is missing or wrong"})
        return Response(value={"access": self.subject_token()})

    # IAM credentials: impersonation

    def impersonate(self, request, email):
        principal = self.identity.authenticate(request, "iamcredentials", "create")
        body = request.json_object(invalid)
        for name in set(body) - {"scope", "lifetime", "delegates"}:
            raise invalid(f'Invalid JSON payload received. Unknown name "{name}": '
                          "Cannot find field.")
        lifetime = re.fullmatch(r"(\d+)(\.\d+)?s", str(body.get("lifetime", "3600s")))
        scopes = body.get("scope")
        if not lifetime or not 0 < int(lifetime[1]) <= MAX_LIFETIME:
            raise invalid("The lifetime of the access token must be between 1s and 3600s.")
        if not isinstance(scopes, list) or not scopes or \
                not all(s in KNOWN_SCOPES for s in map(str, scopes)):
            raise invalid("Request contains an invalid argument.")
        permission = "iam.serviceAccounts.getAccessToken"
        with self.cloud.lock:
            known = email in self.identity.service_accounts
            allowed = known and self.identity.allowed(principal, self.home(email), permission)
            if allowed:
                token, seconds = self.identity.issue(email, scopes, int(lifetime[1]))
        if not allowed:
            raise status_error(
                "PERMISSION_DENIED", f"Permission '{permission}' denied on resource "
                                     "(or it may not exist).",
                [error_info("IAM_PERMISSION_DENIED", "iam.googleapis.com", permission=permission)])
        return Response(value={"accessToken": token,
                               "expireTime": stamp(self.clock.now() + seconds, 0)})

    @staticmethod
    def home(email):
        """The project that a service account's address names."""
        return email.partition("@")[2].partition(".")[0]

    # The metadata server

    def metadata(self, request):
        flavor = [("Metadata-Flavor", "Google"), ("Server", "Metadata Server for VM")]
        if request.headers.get("Metadata-Flavor") != "Google":
            raise Refused(403, b"Your client does not have permission to get URL from this server. "
                               b"Missing Metadata-Flavor:Google header.\n",
                          [("Content-Type", "text/html; charset=UTF-8"), *flavor])
        if request.headers.get("X-Forwarded-For"):
            raise Refused(403, b"", flavor)
        if not self.instance:
            raise Refused(404, b"", flavor)
        path, instance = request.path[len(METADATA):], self.instance
        account = re.fullmatch(r"instance/service-accounts/([^/]+)/(\w*)", path)
        if account:
            if account[1] not in ("default", instance["email"]):
                raise Refused(404, b"", flavor)
            return self.account_metadata(request, account[2], flavor)
        plain = {"project/project-id": instance["project"],
                 "project/numeric-project-id": instance["number"],
                 "instance/zone": f"projects/{instance['number']}/zones/{instance['zone']}"}
        if path not in plain:
            raise Refused(404, b"", flavor)
        return Response(body=plain[path].encode(),
                        headers=[("Content-Type", "application/text"), *flavor])

    def account_metadata(self, request, what, flavor):
        email = self.instance["email"]
        if what == "token":
            asked = request.param("scopes")
            scopes = asked.split(",") if asked else [CLOUD_SCOPE]
            if not set(scopes) <= KNOWN_SCOPES:
                raise Refused(400, b"", flavor)
            request.principal = email
            with self.cloud.lock:
                token, lifetime = self.identity.issue(email, scopes)
            return Response(value={"access_token": token, "expires_in": lifetime,
                                   "token_type": "Bearer"}, headers=flavor)
        if what == "" and request.param("recursive") == "true":
            return Response(value={"aliases": ["default"], "email": email,
                                   "scopes": [CLOUD_SCOPE]}, headers=flavor)
        if what in ("email", "scopes"):
            return Response(body=(email if what == "email" else CLOUD_SCOPE + "\n").encode(),
                            headers=[("Content-Type", "application/text"), *flavor])
        raise Refused(404, b"", flavor)
