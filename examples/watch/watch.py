"""Watches organisms, or receipts: a client of the control plane that has nothing of Dragons but its address.

    python3 examples/watch/watch.py READY_FILE [SECONDS] [--receipts | --denials]

READY_FILE is what `dragons dev --ready-file` writes. A stream that ends is resumed where it was. Needs grpcio, protobuf
and cryptography, on Debian python3-grpcio, python3-protobuf and python3-cryptography. The messages come from
reflection, so nothing is generated; a program that stays would compile proto/dragons/v1.
"""
import argparse, base64, json, sys, time, uuid
import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

arguments = argparse.ArgumentParser()
arguments.add_argument("ready", metavar="READY_FILE")
arguments.add_argument("seconds", metavar="SECONDS", nargs="?", type=float)
kinds = arguments.add_mutually_exclusive_group()
kinds.add_argument("--receipts", action="store_true", help="receipts, as they come to be held")
kinds.add_argument("--denials", action="store_true", help="receipts of what was denied, alone")
given = arguments.parse_args()
ready = json.load(open(given.ready))
until = None if given.seconds is None else time.monotonic() + given.seconds
service, method = "OrganismService", "Watch"
wanted = {}
if given.receipts or given.denials:
    service, method = "LedgerService", "WatchReceipts"
if given.denials:
    wanted["verdict"] = "VERDICT_DENIED"
# A network that breaks without a word ends no stream by itself.
KEEPALIVE = [("grpc.keepalive_time_ms", 20_000), ("grpc.keepalive_timeout_ms", 10_000),
             ("grpc.http2.max_pings_without_data", 0)]


def token():
    """A login: a JWT of ten minutes that the operator's own key signs."""
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(open(ready["operatorKey"]).read().strip()))
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    now = int(time.time())
    head = {"alg": "EdDSA", "kid": public.hex(), "typ": "JWT"}
    claims = {"iss": ready["operator"], "sub": ready["operator"], "aud": ready["audience"],
              "tenant": ready["tenant"], "iat": now, "exp": now + 600, "jti": uuid.uuid4().hex}
    url = lambda part: base64.urlsafe_b64encode(part).rstrip(b"=")
    signed = b".".join(url(json.dumps(part).encode()) for part in (head, claims))
    return (signed + b"." + url(key.sign(signed))).decode()


def reflected(channel, symbol):
    """Every message type of the file that defines a symbol, and of those that it imports."""
    file = descriptor_pb2.FileDescriptorProto(name="reflect.proto", package="reflect", syntax="proto3")
    def message(name, **fields):
        described = file.message_type.add(name=name)
        for field, (number, kind, label) in fields.items():
            of = {"type": 11, "type_name": ".reflect." + kind} if isinstance(kind, str) else {"type": kind}
            described.field.add(name=field, number=number, label=label, **of)
    message("Request", symbol=(4, 9, 1))
    message("Files", file=(1, 12, 3))
    message("Response", files=(4, "Files", 1))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    kind = lambda name: message_factory.MessageFactory(pool).GetPrototype(pool.FindMessageTypeByName(name))
    ask = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                                kind("reflect.Request").SerializeToString, kind("reflect.Response").FromString)
    answer = next(ask(iter([kind("reflect.Request")(symbol=symbol)])))
    files = {f.name: f for f in map(descriptor_pb2.FileDescriptorProto.FromString, answer.files.file)}
    def add(name):
        described = files.pop(name, None)
        if described is not None:
            for needed in described.dependency:
                add(needed)
            pool.Add(described)
    for name in list(files):
        add(name)
    return kind


def word(message, field):
    """The name of an enum's value."""
    return message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number[getattr(message, field)].name


def shown(told, kind):
    """One message in words: what it is, and whatever it tells of."""
    if method == "Watch":
        return word(told, "event"), told.revision, told.organism.instance_id, word(told.organism, "state")
    if not told.HasField("receipt"):
        return word(told, "event"),
    # What is signed is bytes: the header is read from them.
    header = kind("dragons.v1.ReceiptHeader").FromString(told.receipt.body)
    return (word(told, "event"), header.seq, header.ledger_id.hex(), word(header, "verdict"),
            word(header, "reason"), header.scope)


def watch(resume):
    """Prints what is told until the stream ends; gives the token to go on with, and why it ended."""
    credentials = grpc.ssl_channel_credentials(open(ready["controlCa"], "rb").read())
    left = None if until is None else max(until - time.monotonic(), 0.001)
    with grpc.secure_channel(ready["control"], credentials, KEEPALIVE) as channel:
        try:
            kind = reflected(channel, f"dragons.v1.{service}")
            Request, Response = kind(f"dragons.v1.{method}Request"), kind(f"dragons.v1.{method}Response")
            call = channel.unary_stream(f"/dragons.v1.{service}/{method}",
                                        Request.SerializeToString, Response.FromString)
            metadata = [("authorization", "Bearer " + token())]
            for told in call(Request(resume_token=resume, **wanted), timeout=left, metadata=metadata):
                print(*shown(told, kind), flush=True)
                # Within a snapshot there is none: a snapshot is whole, or begun anew.
                resume = told.resume_token or resume
        except grpc.RpcError as error:
            return resume, error
    return resume, None


resume = ""
while True:
    resume, error = watch(resume)
    code = grpc.StatusCode.OK if error is None else error.code()
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        break
    if code == grpc.StatusCode.OUT_OF_RANGE:
        # The token is of another store, or too old: organisms are told anew, receipts from now on.
        print(f"begins anew: {error.details()}", file=sys.stderr)
        resume = ""
    # RESOURCE_EXHAUSTED: too much waited here unread, and is told again after the last that was read.
    elif code not in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
        sys.exit(f"{code.name}: {error.details()}")
    time.sleep(1)  # The control plane ended, or is not there yet: nothing is lost meanwhile.
