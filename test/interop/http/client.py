"""Says what urllib sees of each thing that the server does: python3 client.py URL"""

import hashlib
import json
import sys
import urllib.error
import urllib.request

base = sys.argv[1]
big = b"".join(hashlib.sha256(str(i).encode()).digest() for i in range(93_750))


def show(name, method, path, body=None, headers=None):
    request = urllib.request.Request(base + path, data=body, headers=headers or {}, method=method)
    try:
        answer = urllib.request.urlopen(request, timeout=20)
    except urllib.error.HTTPError as error:
        answer = error
    data = answer.read()
    fields = sorted(
        f"{k.lower()}: {v}" for k, v in answer.headers.items() if k.lower() not in ("connection", "keep-alive")
    )
    digest = hashlib.sha256(data).hexdigest()
    text = data.decode() if len(data) < 400 and b"\x1f\x8b" not in data[:2] else ""
    print(json.dumps([name, answer.status, answer.reason, answer.url, fields, digest, text]))


show("get", "GET", "/echo?a=1&b=%2F..", headers={"X-Custom": "caf\u00e9".encode("latin-1"), "Cookie": "a=b"})
show("post", "POST", "/echo", b"hello")
show("put", "PUT", "/echo", big)
show("stream", "POST", "/echo", iter([b"one", b"", b"two"]))
show("head", "HEAD", "/big")
show("delete", "DELETE", "/echo")
show("options", "OPTIONS", "/echo")
for path in ("big", "chunked", "gzip", "redirect", "empty", "missing", "close"):
    show(path, "GET", "/" + path)
