import { bytes, message, nested, oneOf, repeated, str, u32, u64 } from "./canonical.ts";
import { PROTOCOLS, SCHEMES } from "./claim.ts";
import { MEASURES } from "./grant.ts";
import { ENFORCEMENTS } from "./heartbeat.ts";

/** The five things a receipt commits to, by number. Each is salted; none leaves the tenant. */
export const PAYLOAD_FIELDS = ["goal", "action", "evidence", "outcome", "claim"] as const;
export type PayloadField = (typeof PAYLOAD_FIELDS)[number];

/** 1: what for. */
export const GoalBody = message("goal", {
  version: u32(1),
  /** The grant's purpose. */
  purpose: str(2),
  /** `--goal` of this run; absent: none was given. */
  goal: str(3),
  /** W3C traceparent of the call; absent: none was sent. */
  traceparent: str(4),
});

/** 2: what was asked, normalised. Bodies are digested, not kept. */
export const ActionBody = message("action", {
  version: u32(1),
  protocol: oneOf(2, PROTOCOLS),
  target: str(3),
  verb: str(4),
  path: str(5),
  /** Sorted, lower case, names alone. */
  headerNames: repeated(str(6)),
  bodySha256: bytes(7, 32),
  bodyBytes: u64(8),
  messages: u64(9),
  scheme: oneOf(10, SCHEMES),
  /** SHA-256 of the query as it was forwarded, its `?` with it; absent: there was none. */
  querySha256: bytes(11, 32),
});

/** 3: how it was carried out. */
export const EvidenceBody = message("evidence", {
  version: u32(1),
  /** `ip:port` dialled; absent: nothing was. */
  dialled: str(2),
  /** SHA-256 of the upstream's certificate (DER); absent: plaintext. */
  peerCertificate: bytes(3, 32),
  /** ref(lease) at opening and of each lease that took over. */
  leases: repeated(bytes(4, 32)),
  firstByteUs: u64(5),
  measure: oneOf(6, MEASURES),
  enforcement: oneOf(7, ENFORCEMENTS),
});

/** 4: what came of it. */
export const OutcomeBody = message("outcome", {
  version: u32(1),
  /** `grpc-status: 0`, `http 200`, or why there is none. */
  status: str(2),
  /** Sorted, lower case, names alone. */
  headerNames: repeated(str(3)),
  trailerNames: repeated(str(4)),
  bodySha256: bytes(5, 32),
  bodyBytes: u64(6),
  messages: u64(7),
});

/** A payload field laid open: what the commitment was made over. */
export const Opening = message("opening", {
  /** 1 to 5, as in PAYLOAD_FIELDS. */
  field: u32(1),
  salt: bytes(2, 32),
  data: bytes(3),
});
export type Opening = ReturnType<typeof Opening.decode>;

/** Beside each receipt: its five commitments, and what the tenant kept of the openings. */
export const PayloadRow = message("payload", {
  commitments: repeated(bytes(1, 32)),
  openings: repeated(nested(2, Opening)),
});
export type PayloadRow = ReturnType<typeof PayloadRow.decode>;
