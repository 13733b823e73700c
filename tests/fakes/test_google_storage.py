#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The stand-in for Cloud Storage refuses what Cloud Storage refuses."""
import base64
import gzip
import hashlib
import http.client
import json
import unittest
import urllib.parse

import google_crc32c
from google_harness import BUCKET, NUMBER, PROJECT, WithCloud

UNIT = 262144


class Storage(WithCloud):
    def multipart(self, metadata, data=b"hello", query="", tail=b"", boundary="x1",
                  kind="related"):
        body = (f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n"
                f"{json.dumps(metadata)}\r\n--{boundary}\r\nContent-Type: text/plain\r\n\r\n"
                ).encode() + data + f"\r\n--{boundary}--".encode() + tail
        return self.call("POST", f"/upload/storage/v1/b/{BUCKET}/o?uploadType=multipart{query}",
                         body, {"Content-Type": f"multipart/{kind}; boundary={boundary}"})

    def start(self, name="big", metadata=None, query="", headers=None):
        answer = self.call("POST", f"/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&name="
                                   f"{name}{query}", metadata or {}, headers)
        self.assertEqual(answer.status, 200, answer.body)
        return urllib.parse.urlsplit(answer.headers["location"])

    def chunk(self, session, data, content_range, **headers):
        given = {k.replace("_", "-"): v for k, v in headers.items()}
        if content_range:
            given["Content-Range"] = content_range
        return self.call("PUT", f"{session.path}?{session.query}", data, given, token=False)

    def test_media(self):
        made = self.media("dir/näme 1", b"hello").json
        self.assertEqual((made["name"], made["size"], made["metageneration"], made["md5Hash"]),
                         ("dir/näme 1", "5", "1", "XUFAKrxLKna5cZ2REBfFkg=="))
        self.assertEqual(made["crc32c"], base64.b64encode(
            google_crc32c.value(b"hello").to_bytes(4, "big")).decode())
        self.assertRegex(made["generation"], r"^\d{16}$")
        self.assertEqual(self.object("dir/näme 1").json, made)
        got = self.object("dir/näme 1", "?alt=media")
        self.assertEqual((got.status, got.body), (200, b"hello"))
        self.assertEqual(got.headers["x-goog-generation"], made["generation"])
        self.assertEqual(got.headers["x-goog-hash"],
                         f"crc32c={made['crc32c']},md5={made['md5Hash']}")
        # A "/" that is not encoded is another path, which nobody answers.
        self.assertEqual(self.call("GET", f"/storage/v1/b/{BUCKET}/o/dir/n").status, 404)

    def test_names(self):
        for name, status in [("", 400), (".", 400), ("..", 400), ("a\nb", 400), ("a\rb", 400),
                             ("x" * 1025, 400), ("x" * 1024, 200), ("a/../b", 200),
                             (".well-known/acme-challenge/x", 400)]:
            self.assertEqual(self.media(name).status, status, name[:20])

    def test_parameters(self):
        for query, status in [("&contentEncoding=gzip", 200), ("&ifGenerationMatch=x", 400),
                              ("&colour=red", 400), ("&fields=name,size", 200),
                              ("&fields=name(", 400)]:
            self.assertEqual(self.media("x", query=query).status, status, query)
        self.assertEqual(self.media("x", query="&fields=size").json, {"size": "5"})
        path = f"/upload/storage/v1/b/{BUCKET}/o?name=x"
        self.assertEqual(self.call("POST", path, b"").error[0], "wrongUrlForUpload")
        self.assertEqual(self.media("x", bucket="no-such-bucket").status, 404)

    def test_multipart(self):
        made = self.multipart({"name": "m", "metadata": {"a": "b"}, "contentType": "text/x"})
        self.assertEqual((made.json["size"], made.json["metadata"], made.json["contentType"]),
                         ("5", {"a": "b"}, "text/x"))
        self.assertEqual(self.object("m", "?alt=media").body, b"hello")
        self.assertEqual(self.multipart({"name": "m"}, b"").json["size"], "0")
        tricky = b"\r\n--x\r\n--\r\n" * 9
        self.multipart({"name": "m"}, tricky)
        self.assertEqual(self.object("m", "?alt=media").body, tricky)

    def test_multipart_refused(self):
        digest = base64.b64encode(hashlib.md5(b"other").digest()).decode()
        for metadata, more in [
                ({}, {}), ({"name": "m", "colour": "red"}, {}), ({"name": 7}, {}), ([], {}),
                ({"name": "m", "metadata": {"a": 1}}, {}), ({"name": "m"}, {"kind": "form-data"}),
                ({"name": "m"}, {"data": b"x\r\n--x1\r\nA: b\r\n\r\nthird"}),
                ({"name": "m"}, {"tail": b"more"}),
                ({"name": "m", "md5Hash": digest}, {}), ({"name": "m", "crc32c": "AAAAAA=="}, {})]:
            self.assertEqual(self.multipart(metadata, **more).status, 400, (metadata, more))
        self.assertEqual(self.object("m").status, 404)
        self.assertIn("doesn't match calculated MD5 hash",
                      self.multipart({"name": "m", "md5Hash": digest}).error[1])
        answer = self.media("m", headers={"X-Goog-Hash": "crc32c=AAAAAA=="})
        self.assertIn("doesn't match calculated CRC32C", answer.error[1])
        self.assertEqual(self.asked("objects?bucket=" + BUCKET), [])

    def test_resumable(self):
        data = bytes(range(256)) * (3 * UNIT // 256) + b"tail"
        session = self.start(metadata={"contentType": "application/x-tar"},
                             headers={"X-Upload-Content-Length": str(len(data))})
        query = self.chunk(session, b"", "bytes */*")
        self.assertEqual((query.status, query.headers.get("range")), (308, None))
        answer = self.chunk(session, data[:2 * UNIT], f"bytes 0-{2 * UNIT - 1}/{len(data)}")
        self.assertEqual((answer.status, answer.headers["range"]),
                         (308, f"bytes=0-{2 * UNIT - 1}"))
        # What was kept already may be sent again: it is skipped.
        answer = self.chunk(session, data[UNIT:], f"bytes {UNIT}-{len(data) - 1}/{len(data)}")
        self.assertEqual((answer.status, answer.json["size"]), (200, str(len(data))))
        self.assertEqual(answer.json["contentType"], "application/x-tar")
        self.assertEqual(self.object("big", "?alt=media").body, data)
        self.assertEqual(self.chunk(session, b"", "bytes */*").status, 200)

    def test_resumable_of_unknown_size(self):
        session = self.start()
        self.assertEqual(self.chunk(session, b"x" * UNIT, f"bytes 0-{UNIT - 1}/*").status, 308)
        self.assertEqual(self.chunk(session, b"yz", f"bytes {UNIT}-{UNIT + 1}/{UNIT + 2}").status,
                         200)
        session = self.start("whole")
        self.assertEqual(self.chunk(session, b"all at once", None).json["size"], "11")
        session = self.start("empty")
        self.assertEqual(self.chunk(session, b"", None).json["size"], "0")

    def test_resumable_refused(self):
        session = self.start(headers={"X-Upload-Content-Length": str(UNIT * 2)})
        for data, content_range, status in [
                (b"x" * 100, "bytes 0-99/*", 400),               # not whole units
                (b"x" * UNIT, f"bytes 0-{UNIT}/*", 400),          # not what the body has
                (b"x" * UNIT, f"bytes 0-{UNIT - 1}/{UNIT}", 400),  # not the total of before
                (b"x" * UNIT, f"bytes {UNIT}-{2 * UNIT - 1}/{2 * UNIT}", 503),  # a gap
                (b"x", "0-0/1", 400), (b"x", "bytes 0-0", 400), (b"", "bytes 3-1/*", 400)]:
            self.assertEqual(self.chunk(session, data, content_range).status, status, content_range)
        self.assertEqual(self.chunk(session, b"", "bytes */*").headers.get("range"), None)
        unknown = session._replace(query="uploadType=resumable&upload_id=nonesuch")
        self.assertEqual(self.chunk(unknown, b"", "bytes */*").status, 404)
        self.control("clock", {"advance": 8 * 86400})
        self.assertEqual(self.chunk(session, b"", "bytes */*").status, 410)
        self.assertEqual(self.chunk(session, b"", "bytes */*").status, 404)

    def test_resumable_hashes_and_cancel(self):
        self.token = self.token_of(self.email)
        session = self.start(metadata={"crc32c": "AAAAAA=="})
        self.assertEqual(self.chunk(session, b"data", "bytes 0-3/4").status, 400)
        session = self.start()
        self.assertEqual(self.chunk(session, b"data", "bytes 0-3/4",
                                    X_Goog_Hash="md5=AAAA").status, 400)
        session = self.start()
        answer = self.call("DELETE", f"{session.path}?{session.query}", token=False)
        self.assertEqual(answer.status, 499)
        self.assertEqual(self.chunk(session, b"", "bytes */*").status, 404)
        self.assertEqual(self.object("big").status, 404)

    def test_resumable_cut_connection(self):
        session, data = self.start(), b"d" * (4 * UNIT)
        self.fault(op="storage.resumable.put", kind="cut", bytes=2 * UNIT + 1000)
        with self.assertRaises((ConnectionError, http.client.HTTPException)):
            self.chunk(session, data, f"bytes 0-{4 * UNIT - 1}/{4 * UNIT}")
        query = self.chunk(session, b"", f"bytes */{4 * UNIT}")
        self.assertEqual(query.headers["range"], f"bytes=0-{2 * UNIT - 1}")
        self.fault(op="storage.resumable.put", kind="short", bytes=UNIT)
        answer = self.chunk(session, data[2 * UNIT:], f"bytes {2 * UNIT}-{4 * UNIT - 1}/{4 * UNIT}")
        self.assertEqual(answer.headers["range"], f"bytes=0-{3 * UNIT - 1}")
        self.fault(op="storage.resumable.query", kind="no_range")
        self.assertNotIn("range", self.chunk(session, b"", "bytes */*").headers)
        self.assertEqual(self.chunk(session, data[3 * UNIT:],
                                    f"bytes {3 * UNIT}-{4 * UNIT - 1}/{4 * UNIT}").status, 200)

    def test_ranges(self):
        self.media("x", bytes(range(100)))
        for given, status, body in [
                ("bytes=10-19", 206, bytes(range(10, 20))),
                ("bytes=90-", 206, bytes(range(90, 100))),
                ("bytes=-5", 206, bytes(range(95, 100))),
                ("bytes=95-200", 206, bytes(range(95, 100))),
                ("bytes=0-", 206, bytes(range(100))),
                ("bytes=100-", 416, None), ("lines=1-2", 200, bytes(range(100)))]:
            answer = self.object("x", "?alt=media", {"Range": given})
            self.assertEqual(answer.status, status, given)
            if body is not None:
                self.assertEqual(answer.body, body)
        self.assertEqual(self.object("x", "?alt=media", {"Range": "bytes=10-19"})
                         .headers["content-range"], "bytes 10-19/100")

    def test_gzip(self):
        self.multipart({"name": "z", "contentEncoding": "gzip"}, gzip.compress(b"text" * 100))
        answer = self.object("z", "?alt=media")
        self.assertEqual((answer.body, answer.headers["x-goog-stored-content-encoding"]),
                         (b"text" * 100, "gzip"))
        answer = self.object("z", "?alt=media", {"Accept-Encoding": "gzip"})
        self.assertEqual(answer.headers["content-encoding"], "gzip")
        self.assertEqual(gzip.decompress(answer.body), b"text" * 100)

    def test_conditions(self):
        first = self.media("x", query="&ifGenerationMatch=0").json["generation"]
        answer = self.media("x", query="&ifGenerationMatch=0")
        self.assertEqual((answer.status, answer.error[0]), (412, "conditionNotMet"))
        second = self.media("x", query=f"&ifGenerationMatch={first}").json["generation"]
        self.assertGreater(int(second), int(first))
        self.assertEqual(self.object("x", f"?generation={first}").status, 404)
        self.assertEqual(self.object("x", f"?alt=media&ifGenerationMatch={first}").status, 412)
        self.assertEqual(self.object("x", f"?ifGenerationNotMatch={second}").status, 304)
        self.assertEqual(self.object("x", "?ifMetagenerationMatch=2").status, 412)
        self.assertEqual(self.object("x", f"?ifGenerationMatch={first}", method="DELETE").status,
                         412)
        answer = self.object("x", f"?ifGenerationMatch={second}", method="DELETE")
        self.assertEqual((answer.status, answer.body), (204, b""))
        self.assertEqual(self.object("x", method="DELETE").error[0], "notFound")

    def test_replacing_needs_delete(self):
        self.media("x")
        self.control("grants", {"deny": [["*", "*", "storage.objects.delete"]]})
        self.assertEqual(self.media("x").status, 403)
        self.assertEqual(self.media("y").status, 200)

    def test_list(self):
        base = f"/storage/v1/b/{BUCKET}/o"
        self.assertEqual(self.call("GET", base).json, {"kind": "storage#objects"})
        for name in ("a/1", "a/2", "a/b/3", "b", "c/4"):
            self.media(name)

        def names(query):
            answer = self.call("GET", base + query).json
            return [i["name"] for i in answer.get("items", [])], answer.get("prefixes", [])
        self.assertEqual(names("?prefix=a/"), (["a/1", "a/2", "a/b/3"], []))
        self.assertEqual(names("?delimiter=/"), (["b"], ["a/", "c/"]))
        self.assertEqual(names("?prefix=a/&delimiter=/"), (["a/1", "a/2"], ["a/b/"]))
        pages, token = [], ""
        while token is not None:
            answer = self.call("GET", f"{base}?maxResults=2&pageToken={token}").json
            pages.append([i["name"] for i in answer["items"]])
            token = answer.get("nextPageToken")
        self.assertEqual(pages, [["a/1", "a/2"], ["a/b/3", "b"], ["c/4"]])
        answer = self.call("GET", base + "?maxResults=1&fields=items(name,size),nextPageToken").json
        self.assertEqual(answer["items"], [{"name": "a/1", "size": "5"}])
        for query in ("?maxResults=x", "?maxResults=0", "?pageToken=zz", "?colour=red"):
            self.assertEqual(self.call("GET", base + query).status, 400, query)

    def test_buckets(self):
        def insert(name, query=f"?project={PROJECT}"):
            return self.call("POST", "/storage/v1/b" + query, {"name": name})
        self.assertEqual(insert("acme-new").json["projectNumber"], NUMBER)
        self.assertEqual(self.call("GET", "/storage/v1/b/acme-new").status, 200)
        self.assertIn("you already own it", insert("acme-new").error[1])
        self.control("buckets", {"name": "theirs", "project": "other-project"})
        self.assertIn("is not available", insert("theirs").error[1])
        self.assertEqual(self.call("GET", "/storage/v1/b/theirs").status, 403)
        self.assertEqual(self.media("x", bucket="theirs").status, 403)
        self.assertEqual(self.call("GET", "/storage/v1/b/no-such").status, 404)
        self.assertEqual(insert("acme-2", "").error[0], "required")
        self.assertEqual(insert("acme-2", "?project=nonesuch").status, 400)
        for name in ("Ab1", "a", "ab", "-abc", "abc-", "a b c", "1.2.3.4", "goog-x", "my-google",
                     "x" * 64, "a..b", None, 7):
            self.assertEqual(insert(name).status, 400, name)

    def test_downloads_go_wrong(self):
        data = bytes(1000)
        self.media("x", data)
        self.fault(op="storage.objects.media", kind="corrupt")
        answer = self.object("x", "?alt=media")
        self.assertEqual(len(answer.body), 1000)
        self.assertNotEqual(answer.body, data)
        self.fault(op="storage.objects.media", kind="truncate", bytes=10)
        with self.assertRaises((ConnectionError, http.client.IncompleteRead)):
            self.object("x", "?alt=media")
        self.assertEqual(self.object("x", "?alt=media").body, data)

    def test_another_writer(self):
        first = self.media("x").json["generation"]
        second = self.control("objects", {"bucket": BUCKET, "name": "x", "text": "theirs"})
        self.assertGreater(int(second["generation"]), int(first))
        self.assertEqual(self.object("x", "?alt=media").body, b"theirs")
        self.control("objects", {"bucket": BUCKET, "name": "x", "action": "delete"})
        self.assertEqual(self.object("x").status, 404)


if __name__ == "__main__":
    unittest.main()
