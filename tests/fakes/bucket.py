"""An S3 service on loopback: moto's, with a user whose key is checked when a test says so."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from wanworker.media.outputs.bucket import Bucket

NAME = "videos"
_ACCOUNT = "123456789012"
_EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


@dataclass(frozen=True)
class S3Server:
    """Where the service is, and the key that it knows."""

    url: str
    access_key_id: str
    secret_access_key: str

    def bucket(self, *, secret_access_key: str | None = None, prefix: str = "") -> Bucket:
        return Bucket.from_parts(
            endpoint_url=self.url,
            access_key_id=self.access_key_id,
            secret_access_key=secret_access_key or self.secret_access_key,
            name=NAME,
            prefix=prefix,
        )

    @contextmanager
    def checking_keys(self) -> Iterator[None]:
        """Check every request's signature until the block ends."""
        self._post("/moto-api/reset-auth", b"0")
        try:
            yield
        finally:
            self._post("/moto-api/reset-auth", b"Infinity")

    def _post(self, path: str, body: bytes) -> None:
        headers = {"Content-Type": "text/plain"}  # urllib's own default would have moto parse a form
        with urllib.request.urlopen(urllib.request.Request(self.url + path, body, headers)):
            pass


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Run the service, with one bucket and one user, until the block ends."""
    from moto.iam import iam_backends
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        iam_backends.reset()  # moto's services live in this process: an earlier server's users are still there
        iam = iam_backends[_ACCOUNT]["aws"]
        iam.create_user("us-east-1", "worker")
        iam.put_user_policy("worker", "all", json.dumps(_EVERYTHING))
        key = iam.create_access_key("worker")
        made = S3Server(f"http://{host}:{port}", key.access_key_id, key.secret_access_key)
        with urllib.request.urlopen(urllib.request.Request(f"{made.url}/{NAME}", method="PUT")):
            pass
        yield made
    finally:
        server.stop()
