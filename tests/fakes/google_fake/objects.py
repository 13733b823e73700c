# SPDX-License-Identifier: Apache-2.0
"""Buckets and objects: names and metadata in memory, bytes on disk."""
import base64
import bisect
import hashlib
import itertools
import os
import re
import urllib.parse

import google_crc32c

from .clock import stamp
from .errors import storage_error
from .web import CHUNK

BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
WRITABLE = {"name", "bucket", "contentType", "contentEncoding", "contentDisposition",
            "contentLanguage", "cacheControl", "metadata", "md5Hash", "crc32c", "storageClass",
            "customTime", "temporaryHold", "eventBasedHold", "kind", "acl", "size"}
CONDITIONS = {"ifGenerationMatch": ("generation", True),
              "ifGenerationNotMatch": ("generation", False),
              "ifMetagenerationMatch": ("metageneration", True),
              "ifMetagenerationNotMatch": ("metageneration", False)}


def valid_bucket_name(name):
    if not BUCKET_NAME.fullmatch(name) or ADDRESS.fullmatch(name) or ".." in name:
        return False
    if name.startswith("goog") or "google" in name:
        return False
    return len(name) <= 63 if "." not in name else all(len(p) <= 63 for p in name.split("."))


def check_object_name(name):
    if not name:
        raise storage_error(400, "Required parameter: name", "required", ("parameter", "name"))
    if len(name.encode("utf-8", "surrogatepass")) > 1024:
        raise storage_error(400, "The specified object name is too long.", "invalid")
    if name in (".", "..") or "\r" in name or "\n" in name or \
            name.startswith(".well-known/acme-challenge/") or \
            any(0xD800 <= ord(c) <= 0xDFFF for c in name):
        raise storage_error(400, f"Disallowed unicode characters present in object name '{name!r}'",
                            "invalid")


def quote(name):
    return urllib.parse.quote(name, safe="")


class Hashes:
    def __init__(self):
        self._md5, self._crc, self.size = hashlib.md5(), google_crc32c.Checksum(), 0

    def update(self, data):
        self._md5.update(data)
        self._crc.update(data)
        self.size += len(data)

    def values(self):
        """{"md5Hash", "crc32c"} as Storage prints them."""
        return {"md5Hash": base64.b64encode(self._md5.digest()).decode(),
                "crc32c": base64.b64encode(self._crc.digest()).decode()}


def check_hashes(given, hashes):
    """400 unless the md5Hash and crc32c that came with an upload are those of its bytes."""
    for member, words in (("md5Hash", "MD5 hash"), ("crc32c", "CRC32C")):
        value = given.get(member)
        if value and value != hashes[member]:
            raise storage_error(400, f"Provided {words} \"{value}\" doesn't match calculated "
                                     f"{words} \"{hashes[member]}\".", "invalid")


def hash_header(headers):
    """What X-Goog-Hash of a request promises, as metadata; {} when it is not there."""
    given = {}
    for part in headers.get("X-Goog-Hash", "").split(","):
        name, _, value = part.strip().partition("=")
        if name in ("crc32c", "md5"):
            given["crc32c" if name == "crc32c" else "md5Hash"] = value
    return given


class Object:
    def __init__(self, bucket, name, generation, path, offset, size, hashes, metadata, now):
        self.bucket, self.name, self.generation, self.metageneration = bucket, name, generation, 1
        self.path, self.offset, self.size, self.hashes = path, offset, size, hashes
        self.metadata, self.created = metadata, now

    def resource(self, url):
        """The object as the API shows it: whole numbers of 64 bits are texts."""
        at, generation = stamp(self.created, 3), str(self.generation)
        where = f"{url}/storage/v1/b/{self.bucket}/o/{quote(self.name)}"
        kept = {k: v for k, v in self.metadata.items()
                if k in WRITABLE - {"md5Hash", "crc32c", "name", "bucket", "kind", "size", "acl"}}
        return {"kind": "storage#object", "id": f"{self.bucket}/{self.name}/{generation}",
                "selfLink": where,
                "mediaLink": f"{url}/download/storage/v1/b/{self.bucket}/o/{quote(self.name)}"
                             f"?generation={generation}&alt=media",
                "name": self.name, "bucket": self.bucket, "generation": generation,
                "metageneration": str(self.metageneration), "storageClass": "STANDARD",
                "size": str(self.size), "etag": self.etag(), "timeCreated": at, "updated": at,
                "timeStorageClassUpdated": at, **self.hashes, **kept}

    def etag(self):
        raw = f"{self.generation}/{self.metageneration}".encode()
        return base64.b64encode(hashlib.sha256(raw).digest()[:9]).decode()

    def parts(self, start, length):
        """The bytes, from a file that is opened now: a replaced object is still read whole."""
        file = open(self.path, "rb")

        def read():
            with file:
                file.seek(self.offset + start)
                left = length
                while left > 0 and (data := file.read(min(CHUNK, left))):
                    left -= len(data)
                    yield data
        return read()


class Bucket:
    def __init__(self, name, project, number, location, now):
        self.name, self.project, self.number, self.location = name, project, number, location
        self.created, self.objects, self.names = now, {}, []

    def resource(self, url):
        at = stamp(self.created, 3)
        return {"kind": "storage#bucket", "id": self.name, "name": self.name,
                "selfLink": f"{url}/storage/v1/b/{self.name}", "projectNumber": self.number,
                "location": self.location, "locationType": "region", "storageClass": "STANDARD",
                "generation": str(int(self.created * 1e6)), "metageneration": "1", "etag": "CAE=",
                "timeCreated": at, "updated": at,
                "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}}}


class Store:
    """Callers hold the cloud's lock, except while they write files and read parts()."""

    def __init__(self, directory, clock):
        self.directory, self.clock, self.buckets = directory, clock, {}
        self._files, self._generation = itertools.count(1), 0
        os.makedirs(directory, exist_ok=True)

    def new_path(self):
        return os.path.join(self.directory, f"{next(self._files):08d}")

    def add_bucket(self, name, project, number, location="US-CENTRAL1"):
        self.buckets[name] = Bucket(name, project, number, location, self.clock.now())
        return self.buckets[name]

    def find(self, bucket, name):
        found = self.buckets.get(bucket)
        return found.objects.get(name) if found else None

    def put(self, bucket, name, path, offset, size, hashes, metadata):
        """Make the file an object's newest generation.  The file is the store's from here on."""
        self._generation = max(self._generation + 1, int(self.clock.now() * 1e6))
        new = Object(bucket.name, name, self._generation, path, offset, size, hashes, metadata,
                     self.clock.now())
        old = bucket.objects.get(name)
        bucket.objects[name] = new
        if old:
            os.unlink(old.path)
        else:
            bisect.insort(bucket.names, name)
        return new

    def put_bytes(self, bucket, name, data, content_type="application/octet-stream"):
        """An object that was not uploaded by a request: a container's output, a test's."""
        hashes, path = Hashes(), self.new_path()
        hashes.update(data)
        with open(path, "wb") as f:
            f.write(data)
        return self.put(bucket, name, path, 0, len(data), hashes.values(),
                        {"contentType": content_type})

    def delete(self, bucket, name):
        gone = bucket.objects.pop(name)
        del bucket.names[bisect.bisect_left(bucket.names, name)]
        os.unlink(gone.path)

    def list(self, bucket, prefix, delimiter, after, most):
        """(objects, prefixes, name to go on after or None): what follows `after`, in order."""
        items, prefixes, names = [], [], bucket.names
        i = max(bisect.bisect_left(names, prefix), bisect.bisect_right(names, after))
        last = after
        while i < len(names) and names[i].startswith(prefix):
            if len(items) + len(prefixes) == most:
                return items, prefixes, last
            name, cut = names[i], -1
            if delimiter:
                cut = names[i].find(delimiter, len(prefix))
            if cut >= 0:
                prefixes.append(name[:cut + len(delimiter)])
                # All that share it are one entry.
                while i < len(names) and names[i].startswith(prefixes[-1]):
                    last = names[i]
                    i += 1
            else:
                items.append(bucket.objects[name])
                last = name
                i += 1
        return items, prefixes, None


def check_conditions(query, object_):
    """412 unless the preconditions hold; object_ None: there is none.  304 is the caller's."""
    for parameter, (member, wanted) in CONDITIONS.items():
        if parameter not in query:
            continue
        text = query[parameter][-1]
        if not re.fullmatch(r"\d{1,19}", text):
            raise storage_error(400, f"Invalid value for parameter {parameter}: {text!r}",
                                "invalidParameter", ("parameter", parameter))
        now = getattr(object_, member) if object_ else 0
        if (now == int(text)) != wanted:
            raise storage_error(412, "At least one of the pre-conditions you specified did not "
                                     "hold.", "conditionNotMet", ("header", "If-Match"))
