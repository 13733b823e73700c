# SPDX-License-Identifier: Apache-2.0
"""The JSON API of Cloud Storage: buckets, and objects but for their uploads."""
import gzip
import re
import urllib.parse

from . import fields
from .errors import Refused, storage_error
from .objects import CONDITIONS, check_conditions, quote, valid_bucket_name
from .uploads import Uploads
from .web import Response

API = re.compile(r"(?:/download)?/storage/v1/b(?:/([^/]+)(?:/o(?:/([^/]+))?)?)?")
UPLOAD = re.compile(r"/upload/storage/v1/b/([^/]+)/o")
COMMON = {"alt", "fields", "key", "prettyPrint", "quotaUser", "userIp", "userProject", "projection",
          "uploadType", "$alt", "access_token"}
PARAMETERS = {
    "buckets.get": {"ifMetagenerationMatch", "ifMetagenerationNotMatch"},
    "buckets.insert": {"project", "predefinedAcl", "predefinedDefaultObjectAcl"},
    "objects.get": {"generation", *CONDITIONS},
    "objects.list": {"prefix", "delimiter", "pageToken", "maxResults", "versions",
                     "includeTrailingDelimiter", "startOffset", "endOffset", "matchGlob",
                     "includeFoldersAsPrefixes", "softDeleted", "filter"},
    "objects.delete": {"generation", *CONDITIONS},
    "objects.insert": {"name", "upload_id", "predefinedAcl", "contentEncoding", "kmsKeyName",
                       *CONDITIONS},
}
MAX_RESULTS = 1000
RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class StorageService:
    def __init__(self, cloud):
        self.cloud, self.store, self.identity = cloud, cloud.store, cloud.identity
        self.uploads = Uploads(self)

    def route(self, request):
        if (match := UPLOAD.fullmatch(request.path)):
            return self.uploads.route(request, urllib.parse.unquote(match[1]))
        match = API.fullmatch(request.path)
        if not match:
            return None
        bucket, name = (urllib.parse.unquote(g) if g else None for g in match.groups())
        has_objects = request.path.endswith("/o") or name is not None
        method = request.method
        if bucket is None:
            if method == "POST":
                return "storage.buckets.insert", self.insert_bucket
        elif not has_objects:
            if method == "GET":
                return "storage.buckets.get", lambda r: self.get_bucket(r, bucket)
        elif name is None:
            if method == "GET":
                return "storage.objects.list", lambda r: self.list(r, bucket)
        elif method == "GET":
            media = request.param("alt") == "media" or request.path.startswith("/download")
            if media:
                return "storage.objects.media", lambda r: self.media(r, bucket, name)
            return "storage.objects.get", lambda r: self.get(r, bucket, name)
        elif method == "DELETE":
            return "storage.objects.delete", lambda r: self.delete(r, bucket, name)
        return None

    # What all have in common

    @staticmethod
    def check_parameters(request, kind):
        unknown = set(request.query) - COMMON - PARAMETERS[kind]
        if unknown:
            raise storage_error(400, f"Invalid parameter: {sorted(unknown)[0]}", "invalidParameter",
                                ("parameter", sorted(unknown)[0]))

    @staticmethod
    def show(request, value, **more):
        if (wanted := request.param("fields")):
            try:
                value = fields.select(value, fields.parse(wanted))
            except ValueError:
                raise storage_error(400, f"Invalid field selection {wanted}", "invalidParameter",
                                    ("parameter", "fields")) from None
        return Response(value=value, **more)

    def bucket(self, name):
        """The bucket, or 404.  The lock is held."""
        found = self.store.buckets.get(name)
        if found is None:
            raise storage_error(404, "The specified bucket does not exist.")
        return found

    def enter(self, request, bucket, kind, verb):
        """Authenticate for storage.KIND.VERB in the bucket's project; answers the bucket."""
        principal = self.identity.authenticate(request, "storage", verb)
        with self.cloud.lock:
            found = self.bucket(bucket)
        self.identity.require(principal, found.project, f"storage.{kind}.{verb}", bucket)
        return found

    def object(self, request, bucket, name):
        """The object, at the generation that is asked for.  The lock is held."""
        found = bucket.objects.get(name)
        generation = request.param("generation")
        if found is None or generation not in (None, str(found.generation)):
            may_list = self.identity.allowed(request.principal, bucket.project,
                                             "storage.objects.list")
            if not may_list:  # whether it exists is not for everybody
                raise storage_error(403, f"{request.principal} does not have storage.objects.list "
                                         "access to the Google Cloud Storage bucket.", "forbidden")
            raise storage_error(404, f"No such object: {bucket.name}/{name}")
        return found

    # Buckets

    def get_bucket(self, request, name):
        self.check_parameters(request, "buckets.get")
        found = self.enter(request, name, "buckets", "get")
        return self.show(request, found.resource(request.server.url))

    def insert_bucket(self, request):
        self.check_parameters(request, "buckets.insert")
        principal = self.identity.authenticate(request, "storage", "create")
        wanted = request.param("project")
        if not wanted:
            raise storage_error(400, "Required parameter: project", "required",
                                ("parameter", "project"))
        body = request.json_object(lambda text: storage_error(400, text, "parseError"))
        name = body.get("name")
        if not isinstance(name, str) or not valid_bucket_name(name):
            raise storage_error(400, f"Invalid bucket name: '{name}'", "invalid")
        with self.cloud.lock:
            project = self.identity.project(wanted)
        if project is None:
            raise storage_error(400, f"Unknown project id: {wanted}", "invalid")
        self.identity.require(principal, project[0], "storage.buckets.create", name)
        with self.cloud.lock:
            there = self.store.buckets.get(name)
            if there and there.project == project[0]:
                raise storage_error(409, "Your previous request to create the named bucket "
                                         "succeeded and you already own it.")
            if there:
                raise storage_error(409, "The requested bucket name is not available. The bucket "
                                         "namespace is shared by all users of the system. Please "
                                         "select a different name and try again.")
            made = self.store.add_bucket(name, *project, body.get("location", "US"))
        return self.show(request, made.resource(request.server.url))

    # Objects

    def get(self, request, bucket, name):
        self.check_parameters(request, "objects.get")
        where = self.enter(request, bucket, "objects", "get")
        with self.cloud.lock:
            found = self.object(request, where, name)
            self.check_reading(request, found)
            return self.show(request, found.resource(request.server.url))

    @staticmethod
    def check_reading(request, found):
        try:
            check_conditions(request.query, found)
        except Refused as e:
            if e.status == 412 and any(n in request.query for n in CONDITIONS if "Not" in n):
                raise Refused(304) from None
            raise

    def delete(self, request, bucket, name):
        self.check_parameters(request, "objects.delete")
        where = self.enter(request, bucket, "objects", "delete")
        with self.cloud.lock:
            found = self.object(request, where, name)
            check_conditions(request.query, found)
            self.store.delete(where, name)
        return Response(204)

    def list(self, request, bucket):
        self.check_parameters(request, "objects.list")
        where = self.enter(request, bucket, "objects", "list")
        prefix, delimiter = request.param("prefix", ""), request.param("delimiter", "")
        most = request.param("maxResults", str(MAX_RESULTS))
        if not re.fullmatch(r"\d{1,9}", most) or most == "0":
            raise storage_error(400, f"Invalid integer value: '{most}'.", "invalid",
                                ("parameter", "maxResults"))
        try:
            after = bytes.fromhex(request.param("pageToken", "")).decode()
        except ValueError:
            raise storage_error(400, "Invalid argument.", "invalid",
                                ("parameter", "pageToken")) from None
        with self.cloud.lock:
            items, prefixes, last = self.store.list(where, prefix, delimiter, after,
                                                    min(int(most), MAX_RESULTS))
            answer = {"kind": "storage#objects"}
            if last is not None:
                answer["nextPageToken"] = last.encode().hex()
            if prefixes:
                answer["prefixes"] = prefixes
            if items:
                answer["items"] = [item.resource(request.server.url) for item in items]
        return self.show(request, answer)

    def media(self, request, bucket, name):
        self.check_parameters(request, "objects.get")
        where = self.enter(request, bucket, "objects", "get")
        with self.cloud.lock:
            found = self.object(request, where, name)
            self.check_reading(request, found)
            zipped = found.metadata.get("contentEncoding") == "gzip"
            unzip = zipped and "gzip" not in request.headers.get("Accept-Encoding", "")
            # What is unzipped on the way is sent whole, whatever range was asked for.
            wanted = None if unzip else self.read_range(request, found)
            start, end = wanted or (0, found.size)
            hashes = found.hashes
            headers = [
                ("Content-Type", found.metadata.get("contentType", "application/octet-stream")),
                ("ETag", found.etag()), ("Accept-Ranges", "bytes"),
                ("x-goog-generation", str(found.generation)),
                ("x-goog-metageneration", str(found.metageneration)),
                ("x-goog-hash", f"crc32c={hashes['crc32c']},md5={hashes['md5Hash']}"),
                ("x-goog-storage-class", "STANDARD"),
                ("x-goog-stored-content-encoding",
                 found.metadata.get("contentEncoding", "identity")),
                ("x-goog-stored-content-length", str(found.size)),
                ("Content-Disposition", f"attachment; filename*=UTF-8''{quote(name)}")]
            parts = found.parts(start, end - start)
        if unzip:
            return Response(body=gzip.decompress(b"".join(parts)),
                            headers=headers + [("Warning", "214 UploadServer gunzipped")])
        if zipped:
            headers.append(("Content-Encoding", "gzip"))
        stream = end - start, self.spoil(request, parts, end - start)
        if wanted:
            headers.append(("Content-Range", f"bytes {start}-{end - 1}/{found.size}"))
            return Response(206, stream=stream, headers=headers)
        return Response(stream=stream, headers=headers)

    @staticmethod
    def read_range(request, found):
        """(first, behind the last) of the bytes to send, or None: no part is asked for."""
        match = RANGE.fullmatch(request.headers.get("Range", "").replace(" ", ""))
        if not match or match[0] == "bytes=-":
            return None
        first, last = match.groups()
        if not first:
            start, end = max(found.size - int(last), 0), found.size
        else:
            start, end = int(first), min(int(last) + 1 if last else found.size, found.size)
        if start >= found.size or end <= start:
            text = (f"The requested range cannot be satisfied. {match[0]} of {found.size} bytes.")
            raise Refused(416, text.encode(), [("Content-Type", "text/html; charset=UTF-8"),
                                               ("Content-Range", f"bytes */{found.size}")])
        return start, end

    @staticmethod
    def spoil(request, parts, length):
        """The parts as a fault leaves them."""
        fault = request.fault
        if fault is None or fault.kind not in ("corrupt", "truncate"):
            return parts

        def spoiled():
            sent = 0
            for part in parts:
                if fault.kind == "truncate" and sent + len(part) > fault.bytes:
                    yield part[:fault.bytes - sent]
                    return
                if fault.kind == "corrupt" and sent <= length // 2 < sent + len(part):
                    i = length // 2 - sent
                    part = part[:i] + bytes([part[i] ^ 1]) + part[i + 1:]
                yield part
                sent += len(part)
        return spoiled()
