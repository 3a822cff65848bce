"""An unmodified Python agent: plain grpcio, nothing of Dragons.

    python3 my_agent.py HOST:PORT

grpcio takes its proxy from the environment, as it always does. Needs grpcio
(Debian: python3-grpcio). Messages are google.protobuf.Struct; the empty one is
no bytes at all, so no generated code is needed to ask for a list.
"""

import sys

import grpc

SERVICE = "/payments.v1.Payments/"


def call(channel, method):
    """Calls a method with an empty Struct and says how it went."""
    try:
        answer = channel.unary_unary(SERVICE + method)(b"", timeout=10)
        print(f"{method}: {len(answer)} bytes")
    except grpc.RpcError as error:
        print(f"{method}: {error.code().name}: {error.details()}")


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: my_agent.py HOST:PORT")
    with grpc.insecure_channel(sys.argv[1]) as channel:
        call(channel, "ListPayments")
        call(channel, "RefundPayment")


if __name__ == "__main__":
    main()
