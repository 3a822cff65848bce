import { bytes, type Codec, message, nested, repeated } from "./canonical.ts";

/**
 * Every signed object travels as `SignedBytes`: the body exactly as it was signed, and its
 * signatures. Nobody re-serializes a body. What kind of object it is comes from where it stands,
 * never from its own say: the kind is bound by PAE.
 */
export const Signature = message("signature", {
  /** Ed25519 public key, 32 bytes. */
  key: bytes(1, 32),
  /** Ed25519 signature, 64 bytes. */
  value: bytes(2, 64),
});
export type Signature = { key: Uint8Array; value: Uint8Array };

export const SignedBytes = message("signed", {
  body: bytes(1),
  signatures: repeated(nested(2, Signature)),
});
export type SignedBytes = { body: Uint8Array; signatures: Signature[] };

/** The kinds of signed object. A key signs one kind of role only. */
export type SignedName =
  | "keyset"
  | "grant"
  | "dock"
  | "genesis"
  | "lease"
  | "receipt"
  | "heartbeat"
  | "transition"
  | "revocation"
  | "directive"
  | "snapshot";

/** A kind of signed object: its name under PAE and its body's codec. */
export interface SignedKind<T> {
  readonly name: SignedName;
  readonly body: Codec<T>;
}

/** An object whose signatures were checked by the rule of its kind. Only verifying makes one. */
export interface Verified<T> {
  readonly body: T;
  readonly signed: SignedBytes;
  /** `ref(name)` of the body: how other artifacts cite it. 32 bytes. */
  readonly ref: Uint8Array;
}

const ascii = new TextEncoder();

/** What comes before the body's length, by name: it is wanted for every hash of every body. */
const heads = new Map<SignedName, Uint8Array>();

function headOf(name: SignedName): Uint8Array {
  let head = heads.get(name);
  if (head === undefined) {
    const type = `application/vnd.dragons.${name}.v1+proto`;
    head = ascii.encode(`DSSEv1 ${type.length} ${type} `);
    heads.set(name, head);
  }
  return head;
}

/** Everything of PAE but the body: hashing need not copy a body to put this before it. */
export function paeHead(name: SignedName, bodyLength: number): Uint8Array {
  const head = headOf(name);
  const decimal = `${bodyLength} `;
  const out = new Uint8Array(head.length + decimal.length);
  out.set(head);
  for (let i = 0; i < decimal.length; i++) out[head.length + i] = decimal.charCodeAt(i);
  return out;
}

/**
 * DSSE pre-authentication encoding:
 * `DSSEv1 <len type> application/vnd.dragons.<name>.v1+proto <len body> <body>`, lengths in ASCII.
 */
export function pae(name: SignedName, body: Uint8Array): Uint8Array {
  const head = paeHead(name, body.length);
  const out = new Uint8Array(head.length + body.length);
  out.set(head);
  out.set(body, head.length);
  return out;
}
