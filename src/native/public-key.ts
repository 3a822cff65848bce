import { createPublicKey, type KeyObject } from "node:crypto";

/**
 * A raw public key as OpenSSL takes it, in the SubjectPublicKeyInfo that begins with `head`. As PEM, since
 * node finds out by an exception that an object which holds DER is no key yet: that takes three times as
 * long as the rest.
 */
export function publicKeyOf(head: Buffer, key: Uint8Array): KeyObject {
  const base64 = Buffer.concat([head, key]).toString("base64");
  return createPublicKey(`-----BEGIN PUBLIC KEY-----\n${base64}\n-----END PUBLIC KEY-----\n`);
}
