import type { Reason } from "../../src/domain/reason.ts";

/** What becomes of one attempt to get out. */
export interface Escape {
  /** As `escape.py` names it. */
  readonly row: string;
  /** What the hostile program saw. */
  readonly outcome: string | RegExp;
  /**
   * Of the receipt, where the attempt reached the sidecar; null: it reached nobody at all, or was a
   * look-up, which is answered here and goes nowhere.
   */
  readonly receipt: Reason | null;
}

const none = (row: string, outcome: string | RegExp): Escape => ({ row, outcome, receipt: null });
const refused = (row: string, reason: Reason, status = 403): Escape => ({
  row,
  outcome: `${status} ${reason}`,
  receipt: reason,
});
/** Of connections that say nothing of themselves that could be answered. */
const reset = (row: string): Escape => ({
  row,
  outcome: /^(?:closed|ECONNRESET)$/,
  receipt: "PROTOCOL_UNSUPPORTED",
});

/**
 * Every way out that is known, by its kind: a kind without a row does not compile, and a row that is here
 * or in the program alone fails.
 */
export const ESCAPES = {
  "what is permitted": [
    { row: "permitted by name", outcome: "200 OK", receipt: "UNSPECIFIED" },
    refused("permitted by name, another path", "SCOPE_NOT_GRANTED"),
  ],
  UDP: [none("UDP", "EPERM"), none("UDP by IPv6", "EPERM"), none("UDP-Lite", /^E/)],
  QUIC: [none("QUIC", "EPERM"), none("QUIC by IPv6", "EPERM")],
  "other transports": [
    none("SCTP", /^E/),
    { row: "MPTCP", outcome: /^(?:403 SCOPE_NOT_GRANTED|E[A-Z]+)$/, receipt: null },
    refused("TCP fast open", "SCOPE_NOT_GRANTED"),
    none("a mark that routes might know", "EPERM"),
    none("a transparent socket of its own", "EPERM"),
  ],
  raw: [
    none("ping", /^E/),
    none("raw IPv4", /^E(?:PERM|PROTONOSUPPORT)$/),
    none("raw IPv6", /^E(?:PERM|PROTONOSUPPORT)$/),
    none("packet socket", "EAFNOSUPPORT"),
    none("XDP", "EAFNOSUPPORT"),
  ],
  "DNS tunnelling": [
    none("a resolver of the world's", "code 0, 0 records"),
    none("a resolver of the world's, by TCP", "code 0, 0 records"),
    none("addresses for HTTP/3 and ECH", "code 0, 0 records"),
    { row: "words in look-ups that are none", outcome: "sent", receipt: "PROTOCOL_UNSUPPORTED" },
  ],
  DoH: [
    refused("DNS over HTTPS", "SCOPE_NOT_GRANTED"),
    { row: "DNS over TLS", outcome: /./, receipt: "PROTOCOL_UNSUPPORTED" },
  ],
  "IP literals": [
    refused("an IPv4 address", "SCOPE_NOT_GRANTED"),
    refused("an address that a permitted name has", "AUTHORITY_MISMATCH"),
  ],
  IPv6: [refused("an IPv6 address", "SCOPE_NOT_GRANTED")],
  "v4-mapped": [
    refused("IPv4 as IPv6", "SCOPE_NOT_GRANTED"),
    refused("IPv4 as IPv6, said in Host", "SCOPE_NOT_GRANTED"),
  ],
  "metadata service": [
    refused("the metadata service", "SCOPE_NOT_GRANTED"),
    refused("the metadata service by IPv6", "SCOPE_NOT_GRANTED"),
    refused("the metadata service by a name", "AUTHORITY_MISMATCH"),
  ],
  "host loopback": [
    none("the host's loopback", "ECONNREFUSED"),
    none("the host's loopback by IPv6", "ECONNREFUSED"),
    none("the host's loopback, by UDP, to whoever hears it", /^(?:sent|ECONNREFUSED)$/),
    refused("the host's loopback through the sidecar", "AUTHORITY_MISMATCH"),
    refused("the host's own address", "SCOPE_NOT_GRANTED"),
    refused("the listener itself", "SCOPE_NOT_GRANTED"),
  ],
  "unix sockets": [
    none("a unix socket in the working directory", "EAFNOSUPPORT"),
    none("the docker socket, and others of the host's", "none"),
    none("a pair of datagram sockets", "EPROTONOSUPPORT"),
  ],
  "abstract unix sockets": [none("an abstract unix socket", "EAFNOSUPPORT")],
  vsock: [none("vsock", "EAFNOSUPPORT"), none("Bluetooth", "EAFNOSUPPORT")],
  netlink: [
    none("netlink of the packet filter", "EPROTONOSUPPORT"),
    none("netlink of routes: the link set down", "EPERM"),
  ],
  "the kernel's back doors": [
    none("io_uring", "ENOSYS"),
    none("the kernel's crypto", "EAFNOSUPPORT"),
  ],
  "nested namespaces": [
    none("a user namespace", "EPERM"),
    none("a network namespace", "EPERM"),
    none("a user namespace by clone3", /^E(?:NOSYS|PERM)$/),
    none("another's network namespace", /^E(?:PERM|ACCES)$/),
  ],
  "ptrace and signals at the sidecar": [
    none("tracing whoever is first", "EPERM"),
    none("memory of whoever is first", /^E(?:PERM|NOSYS)$/),
    none("a signal to the sidecar", "ESRCH"),
    none("a descriptor of the sidecar", /^E(?:SRCH|INVAL|NOSYS|PERM)$/),
    none("a signal to whoever is first", /^(?:sent|EPERM)$/),
    none("processes of the host in sight", "none"),
  ],
  "inherited descriptors": [none("descriptors that were left open", "none")],
  "keys in sight": [none("keys and state of the sidecar", "none")],
  fronting: [
    refused("fronting: TLS for one, Host for another", "AUTHORITY_MISMATCH"),
    refused("fronting: dialled for one, TLS for another", "AUTHORITY_MISMATCH"),
    refused("fronting: a permitted Host on a connection elsewhere", "AUTHORITY_MISMATCH"),
    refused("a target in full for another", "AUTHORITY_MISMATCH"),
  ],
  smuggling: [
    refused("two Hosts", "REQUEST_NOT_NORMAL", 400),
    refused("smuggling", "REQUEST_NOT_NORMAL", 400),
    refused("an upgrade to something else", "SCOPE_NOT_GRANTED"),
  ],
  rebinding: [refused("a name that leads to the sidecar's own network", "TARGET_FORBIDDEN")],
  "opaque CONNECT": [
    refused("CONNECT", "PROTOCOL_UNSUPPORTED", 501),
    reset("bytes that are no protocol"),
    reset("nothing at all, as who waits for a server's greeting"),
  ],
  "proxy variables unset": [refused("without proxy variables", "SCOPE_NOT_GRANTED")],
} as const satisfies Record<string, readonly Escape[]>;
