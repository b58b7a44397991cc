#!/usr/bin/env python3
"""Makes buckets in an S3 store, with versions where the name says so: s3-buckets.py plain kept:versions

Endpoint and keys come from the environment (AWS_*). Waits until the endpoint answers. Python 3's own library only."""

import datetime
import hashlib
import hmac
import http.client
import os
import sys
import time
import urllib.parse

PATIENCE_SECONDS = 50
VERSIONS = (
    b'<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    b"<Status>Enabled</Status></VersioningConfiguration>"
)


def sign(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def put(path: str, query: str, body: bytes) -> None:
    """One signed PUT (AWS signature version 4)."""
    endpoint = urllib.parse.urlsplit(os.environ["AWS_ENDPOINT"])
    region = os.environ["AWS_REGION"]
    now = datetime.datetime.now(datetime.timezone.utc)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    digest = hashlib.sha256(body).hexdigest()
    headers = {"host": endpoint.netloc, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    canonical = "\n".join(["PUT", path, query, lines, names, digest])
    scope = f"{day}/{region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = sign(("AWS4" + os.environ["AWS_SECRET_ACCESS_KEY"]).encode(), day)
    for part in (region, "s3", "aws4_request"):
        key = sign(key, part)
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    credential = f"{os.environ['AWS_ACCESS_KEY_ID']}/{scope}"
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
    )
    connection = http.client.HTTPConnection(endpoint.netloc, timeout=PATIENCE_SECONDS)
    try:
        connection.request("PUT", path + (f"?{query}" if query else ""), body, headers)
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise SystemExit(f"PUT {path}?{query}: {answer.status} {said.decode(errors='replace')}")
    finally:
        connection.close()


def main() -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    for word in sys.argv[1:]:
        name, _, versions = word.partition(":")
        while True:
            try:
                put(f"/{name}", "", b"")
                break
            except (ConnectionRefusedError, ConnectionResetError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        if versions:
            put(f"/{name}", "versioning=", VERSIONS)


main()
