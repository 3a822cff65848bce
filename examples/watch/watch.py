"""Watches organisms: a client of the control plane that has nothing of Dragons but its address.

    python3 examples/watch/watch.py READY_FILE [SECONDS]

READY_FILE is what `dragons dev --ready-file` writes. A stream that breaks off is resumed where it was. Needs grpcio, protobuf and cryptography, on Debian
python3-grpcio, python3-protobuf and python3-cryptography. The messages come from reflection, so nothing is
generated; a program that stays would compile proto/dragons/v1.
"""
import base64, json, sys, time, uuid
import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

ready = json.load(open(sys.argv[1]))
seconds = float(sys.argv[2]) if len(sys.argv) > 2 else None


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


def watch(resume):
    """Prints what is told until the stream ends; gives the token to go on with, and why it ended."""
    credentials = grpc.ssl_channel_credentials(open(ready["controlCa"], "rb").read())
    left = None if until is None else max(until - time.monotonic(), 0.001)
    with grpc.secure_channel(ready["control"], credentials) as channel:
        try:
            kind = reflected(channel, "dragons.v1.OrganismService")
            Request, Response = kind("dragons.v1.WatchRequest"), kind("dragons.v1.WatchResponse")
            call = channel.unary_stream("/dragons.v1.OrganismService/Watch",
                                        Request.SerializeToString, Response.FromString)
            events = Response.DESCRIPTOR.fields_by_name["event"].enum_type.values_by_number
            states = kind("dragons.v1.Organism").DESCRIPTOR.fields_by_name["state"].enum_type.values_by_number
            metadata = [("authorization", "Bearer " + token())]
            for told in call(Request(resume_token=resume), timeout=left, metadata=metadata):
                organism = told.organism
                print(events[told.event].name, told.revision, organism.instance_id,
                      states[organism.state].name, flush=True)
                # Within a snapshot there is none: a snapshot is whole, or begun anew.
                resume = told.resume_token or resume
        except grpc.RpcError as error:
            return resume, error
    return resume, None


until = None if seconds is None else time.monotonic() + seconds
resume = ""
while True:
    resume, error = watch(resume)
    if error is not None and error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
        break
    if error is not None and error.code() != grpc.StatusCode.UNAVAILABLE:
        sys.exit(f"{error.code().name}: {error.details()}")
    time.sleep(1)  # The control plane ended, or is not there yet: nothing is lost meanwhile.
