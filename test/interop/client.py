"""A grpcio client that knows of no sidecar: what its environment says is all it is told.

Reads a job from its standard input, makes one call after the other, and prints what it saw of each,
in the words of client.ts.
"""

import base64
import hashlib
import json
import queue
import sys

import grpc

END = object()


def fields(metadata):
    def text(value):
        return base64.b64encode(value).decode() if isinstance(value, bytes) else value

    return sorted(((k, text(v)) for k, v in metadata or ()), key=lambda pair: pair[0])


def run(channel, one):
    metadata = [
        (name, base64.b64decode(value) if name.endswith("-bin") else value)
        for name, value in one["metadata"]
    ]
    requests = [base64.b64decode(r) for r in one["requests"]]
    options = {"metadata": metadata}
    if one["deadlineMs"] is not None:
        options["timeout"] = one["deadlineMs"] / 1000
    if one["gzip"]:
        options["compression"] = grpc.Compression.Gzip
    outgoing = queue.Queue()
    pending = list(requests)

    def send():
        if pending:
            outgoing.put(pending.pop(0))
        elif one["halfClose"]:
            outgoing.put(END)

    if one["pingPong"]:
        send()
    else:
        for _ in range(len(pending) + 1):
            send()

    messages = []

    def take(message):
        messages.append(f"{len(message)} {hashlib.sha256(message).hexdigest()}")
        if one["cancelAfter"] == len(messages):
            call.cancel()
        elif one["pingPong"]:
            send()

    path, kind = one["path"], one["kind"]
    stream = iter(outgoing.get, END)
    if kind == "unary":
        call = channel.unary_unary(path).future(requests[0], **options)
    elif kind == "clientStream":
        call = channel.stream_unary(path).future(stream, **options)
    elif kind == "serverStream":
        call = channel.unary_stream(path)(requests[0], **options)
    else:
        call = channel.stream_stream(path)(stream, **options)
    head = fields(call.initial_metadata())
    if one["cancelAfter"] == 0:
        call.cancel()
    try:
        if kind in ("unary", "clientStream"):
            take(call.result())
        else:
            for message in call:
                take(message)
    except (grpc.RpcError, grpc.FutureCancelledError):
        pass
    seen = {
        "code": call.code().value[0],
        "details": call.details(),
        "head": head,
        "messages": messages,
        "trailers": fields(call.trailing_metadata()),
    }
    outgoing.put(END)
    return seen


def main():
    job = json.load(sys.stdin)
    limits = [("grpc.max_receive_message_length", -1)]

    def open_channel(target):
        if job["tls"]:
            return grpc.secure_channel(target, grpc.ssl_channel_credentials(), limits)
        return grpc.insecure_channel(target, limits)

    channel, squeezing = open_channel(job["target"]), open_channel(job["gzipTarget"])
    json.dump([run(squeezing if c["gzip"] else channel, c) for c in job["cases"]], sys.stdout)


main()
