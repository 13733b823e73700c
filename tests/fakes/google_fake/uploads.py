# SPDX-License-Identifier: Apache-2.0
"""Uploads of objects: media, multipart and resumable.  Bytes go to disk as they come."""
import email.parser
import json
import mmap
import os
import re
import secrets

from .errors import Broken, Refused, storage_error
from .objects import (Hashes, WRITABLE, check_conditions, check_hashes, check_object_name,
                      hash_header, quote)
from .web import CHUNK, Response

UNIT = 262144
SESSION_SECONDS = 7 * 86400
MAX_METADATA = 1 << 20
CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
BOUNDARY = re.compile(r'boundary=(?:"([^"]+)"|([^;\s]+))')


class Session:
    def __init__(self, bucket, name, metadata, query, principal, total, path, expiry):
        self.bucket, self.name, self.metadata, self.query = bucket, name, metadata, query
        self.principal, self.total, self.path, self.expiry = principal, total, path, expiry
        self.hashes, self.done, self.busy = Hashes(), None, False

    @property
    def kept(self):
        return self.hashes.size


class Uploads:
    def __init__(self, service):
        self.service, self.cloud = service, service.cloud
        self.store, self.clock = service.store, service.cloud.clock
        self.sessions = {}

    def route(self, request, bucket):
        kind, method = request.param("uploadType"), request.method
        if kind == "resumable" and request.param("upload_id"):
            if method == "PUT" or method == "POST":
                op = "query" if "*/" in request.headers.get("Content-Range", "") else "put"
                return f"storage.resumable.{op}", self.resume
            if method == "DELETE":
                return "storage.resumable.cancel", self.cancel
        elif method == "POST" and kind in ("media", "multipart", "resumable"):
            call = {"media": self.media, "multipart": self.multipart, "resumable": self.start}[kind]
            return f"storage.objects.insert.{kind}", lambda r: call(r, bucket)
        elif method == "POST":
            return "storage.objects.insert.unknown", self.refuse_kind
        return None

    @staticmethod
    def refuse_kind(request):
        raise storage_error(400, "Upload requests must include an uploadType URL parameter and a "
                                 "URL path beginning with /upload/", "wrongUrlForUpload")

    def enter(self, request, bucket):
        self.service.check_parameters(request, "objects.insert")
        return self.service.enter(request, bucket, "objects", "create")

    def named(self, request, metadata):
        """The object's name: of the query or of the metadata."""
        name = request.param("name") or metadata.get("name")
        if name is not None and not isinstance(name, str):
            raise storage_error(400, "Invalid value for: name", "invalid")
        check_object_name(name)
        return name

    @staticmethod
    def metadata(raw):
        try:
            value = json.loads(raw.decode("utf-8")) if raw.strip() else {}
        except (UnicodeDecodeError, ValueError):
            raise storage_error(400, "Parse Error", "parseError") from None
        if not isinstance(value, dict):
            raise storage_error(400, "Parse Error", "parseError")
        for member in value:
            if member not in WRITABLE:
                raise storage_error(400, f"Unknown name \"{member}\": Cannot find field.",
                                    "badRequest")
        texts = value.get("metadata", {})
        if not isinstance(texts, dict) or not all(isinstance(v, str) for v in texts.values()):
            raise storage_error(400, "Invalid value for: metadata", "invalid")
        return value

    def commit(self, principal, bucket, name, query, given, path, offset, hashes):
        """Make the file an object, when all that the request said of it is so.

        The file is the store's afterwards; on an error it stays the caller's.
        """
        with self.cloud.lock:
            where = self.service.bucket(bucket)
            old = where.objects.get(name)
            check_conditions(query, old)
            check_hashes(given, hashes.values())
        if old:
            self.service.identity.require(principal, where.project, "storage.objects.delete", name)
        with self.cloud.lock:
            check_conditions(query, where.objects.get(name))
            return self.store.put(where, name, path, offset, hashes.size, hashes.values(), given)

    def spool(self, request, path, hashes=None):
        """Write the body to the file; a fault may end it early."""
        fault, size = request.fault, 0
        with open(path, "wb") as f:
            while part := request.body.read():
                if fault and fault.kind == "cut" and size + len(part) > fault.bytes:
                    raise Broken()
                f.write(part)
                size += len(part)
                if hashes:
                    hashes.update(part)

    def media(self, request, bucket):
        self.enter(request, bucket)
        name, path, hashes = self.named(request, {}), self.store.new_path(), Hashes()
        given = {"contentType": request.headers.get("Content-Type", "application/octet-stream"),
                 **hash_header(request.headers)}
        try:
            self.spool(request, path, hashes)
            made = self.commit(request.principal, bucket, name, request.query, given, path, 0,
                               hashes)
        except (Refused, Broken):
            os.unlink(path)
            raise
        return self.service.show(request, made.resource(request.server.url))

    # Multipart: the object's bytes stay where they are in the body's file

    def multipart(self, request, bucket):
        self.enter(request, bucket)
        boundary = BOUNDARY.search(request.headers.get("Content-Type", ""))
        if request.content_type() != "multipart/related" or not boundary:
            raise storage_error(400, "Multipart must be \"multipart/related\" with a boundary.",
                                "badContent")
        path = self.store.new_path()
        try:
            self.spool(request, path)
            metadata, content_type, offset, size = self.read_parts(
                path, (boundary[1] or boundary[2]).encode())
            metadata.setdefault("contentType", content_type)
            name, hashes = self.named(request, metadata), Hashes()
            with open(path, "rb") as f:
                f.seek(offset)
                while size > hashes.size:
                    hashes.update(f.read(min(CHUNK, size - hashes.size)))
            made = self.commit(request.principal, bucket, name, request.query,
                               {**metadata, **hash_header(request.headers)}, path, offset, hashes)
        except (Refused, Broken):
            os.unlink(path)
            raise
        return self.service.show(request, made.resource(request.server.url))

    def read_parts(self, path, boundary):
        """(metadata, content type, offset and size of the bytes) of exactly two parts."""
        malformed = storage_error(400, "Malformed multipart body.", "badContent")
        if os.path.getsize(path) == 0:
            raise malformed
        with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as body:
            line, parts = b"--" + boundary, []
            at = 0 if body[:len(line)] == line else body.find(b"\r\n" + line) + 2
            if at == 1:
                raise malformed
            while body[at + len(line):at + len(line) + 2] != b"--":
                head_end = body.find(b"\r\n\r\n", at, at + len(line) + MAX_METADATA)
                end = body.find(b"\r\n" + line, head_end + 2)
                if head_end < 0 or end < 0 or len(parts) == 2:
                    raise malformed
                start = min(head_end + 4, end)
                head = body[body.find(b"\n", at) + 1:head_end].decode("latin-1")
                parts.append((email.parser.Parser().parsestr(head), start, end))
                at = end + 2
            if len(parts) != 2 or body[at + len(line) + 2:].strip():
                raise malformed
            (head, start, end), (data_head, data, data_end) = parts
            if head.get_content_type() != "application/json" or end - start > MAX_METADATA:
                raise malformed
            metadata = self.metadata(body[start:end])
        return (metadata, data_head.get("Content-Type", "application/octet-stream"), data,
                data_end - data)

    # Resumable

    def start(self, request, bucket):
        where = self.enter(request, bucket)
        raw = request.body.all(MAX_METADATA)
        if raw.strip() and request.content_type() != "application/json":
            raise storage_error(400, "Metadata must be application/json.", "badContent")
        metadata = self.metadata(raw)
        metadata.setdefault("contentType", request.headers.get("X-Upload-Content-Type",
                                                               "application/octet-stream"))
        name = self.named(request, metadata)
        total = request.headers.get("X-Upload-Content-Length")
        if total is not None and not total.isdigit():
            raise storage_error(400, "Invalid X-Upload-Content-Length.", "invalid")
        with self.cloud.lock:
            check_conditions(request.query, where.objects.get(name))
            session = Session(bucket, name, metadata, request.query, request.principal,
                              None if total is None else int(total), self.store.new_path(),
                              self.clock.now() + SESSION_SECONDS)
            identifier = secrets.token_urlsafe(48)
            self.sessions[identifier] = session
        with open(session.path, "wb"):
            pass
        # The session is where it was asked for: through a proxy, too.
        url = (f"http://{request.host}/upload/storage/v1/b/{quote(bucket)}/o?uploadType=resumable"
               f"&name={quote(name)}&upload_id={identifier}")
        return Response(200, body=b"", headers=[
            ("Location", url), ("X-GUploader-UploadID", identifier),
            ("Content-Type", "text/plain; charset=utf-8")])

    def session(self, request):
        """The session, taken for this request alone; 404 or 410 when it is no more."""
        identifier = request.param("upload_id")
        with self.cloud.lock:
            session = self.sessions.get(identifier)
            if session is None:
                raise storage_error(404, "Upload session not found.", "notFound")
            gone = request.fault and request.fault.kind == "gone"
            if gone or session.expiry <= self.clock.now():
                self.forget(identifier)
                raise storage_error(410, "The requested upload session is no longer available.",
                                    "gone")
            if session.busy:
                raise storage_error(503, "Another request of this upload is being processed.",
                                    "backendError")
            session.busy = True
        request.principal = session.principal
        return session

    def forget(self, identifier):
        session = self.sessions.pop(identifier)
        if session.done is None:
            os.unlink(session.path)

    def cancel(self, request):
        session = self.session(request)
        with self.cloud.lock:
            session.busy = False
            self.forget(request.param("upload_id"))
        return Response(499)

    def resume(self, request):
        session = self.session(request)
        try:
            return self.advance(request, session)
        finally:
            session.busy = False

    def advance(self, request, session):
        given = request.headers.get("Content-Range")
        if given is None:
            first, last = 0, None
            total = request.body.length
        else:
            match = CONTENT_RANGE.fullmatch(given)
            if not match:
                raise storage_error(400, f"Invalid Content-Range header: {given}", "invalid")
            first, last = (int(g) if g else None for g in match.groups()[:2])
            total = None if match[3] == "*" else int(match[3])
        self.check_total(request, session, total)
        if session.done is not None:
            return self.service.show(request, session.done)
        if first is not None:
            self.check_range(request, session, first, last, total, given is not None)
            self.take(request, session, first, last, total)
        if total is not None and session.kept == total:
            return self.finish(request, session)
        return self.incomplete(request, session)

    @staticmethod
    def check_total(request, session, total):
        if total is None:
            return
        if session.total is not None and total != session.total or total < session.kept:
            raise storage_error(400, f"Invalid request. The total of {total} bytes is not what was "
                                     "declared before.", "invalid")
        session.total = total

    @staticmethod
    def check_range(request, session, first, last, total, ranged):
        if not ranged:
            return
        length = request.body.length
        if last < first or length is not None and length != last - first + 1 or \
                total is not None and last >= total:
            raise storage_error(400, "Invalid request. There were "
                                     f"{length} byte(s) in the request body, which is not what the "
                                     "Content-Range header says.", "invalid")
        if first > session.kept:
            raise storage_error(503, "Invalid request. According to the Content-Range header, the "
                                     f"upload offset is {first} byte(s), which exceeds already "
                                     f"uploaded size of {session.kept} byte(s).", "backendError")
        final = total is not None and last + 1 == total
        if not final and (last - first + 1) % UNIT:
            raise storage_error(400, "Invalid request. The number of bytes uploaded is required to "
                                     f"be equal or greater than {UNIT}, except for the final "
                                     "request (it's recommended to be the exact multiple of "
                                     f"{UNIT}). The received request contained {last - first + 1} "
                                     "bytes, which does not meet this requirement.", "invalid")

    def take(self, request, session, first, last, total):
        """Keep the body in whole units; the rest of it only when it ends the object."""
        skip, fault, seen, pending = session.kept - first, request.fault, 0, b""
        limit = fault.bytes if fault and fault.kind in ("cut", "short") else None
        with open(session.path, "r+b") as f:
            f.seek(session.kept)

            def keep(data):
                f.write(data)
                session.hashes.update(data)
            while part := request.body.read():
                if limit is not None and seen + len(part) > limit:
                    part, ended = part[:limit - seen], True
                else:
                    ended = False
                seen += len(part)
                if skip:
                    part, skip = part[skip:], max(skip - len(part), 0)
                pending += part
                whole = len(pending) - len(pending) % UNIT
                keep(pending[:whole])
                pending = pending[whole:]
                if ended:
                    break
            else:
                if total is not None and session.kept + len(pending) == total:
                    keep(pending)
        if limit is not None and fault.kind == "cut":
            raise Broken()

    def incomplete(self, request, session):
        headers = [("X-GUploader-UploadID", request.param("upload_id"))]
        hidden = request.fault and request.fault.kind == "no_range"
        if session.kept and not hidden:
            headers.append(("Range", f"bytes=0-{session.kept - 1}"))
        return Response(308, body=b"", headers=headers)

    def finish(self, request, session):
        given = {**session.metadata, **hash_header(request.headers)}
        identifier = request.param("upload_id")
        try:
            made = self.commit(session.principal, session.bucket, session.name, session.query,
                               given, session.path, 0, session.hashes)
        except Refused:
            with self.cloud.lock:
                self.forget(identifier)
            raise
        session.done = made.resource(request.server.url)
        return self.service.show(request, session.done)
