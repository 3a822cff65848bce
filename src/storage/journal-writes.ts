import type { Write } from "./store.ts";

/** Before each write: bytes of its key (u16), bytes of its value (u32) or that it is removed. */
const HEAD = 6;
const REMOVED = 0xffff_ffff;

/** Bytes that `encodeWrites` takes for them. */
export function encodedBytes(writes: readonly Write[]): number {
  let bytes = 0;
  for (const { key, value } of writes) bytes += HEAD + key.length + (value?.length ?? 0);
  return bytes;
}

/** Writes of several commits, in order, as one record's body: length, length, key, value each. */
export function encodeWrites(
  commits: readonly { readonly writes: readonly Write[] }[],
  into: Buffer,
): void {
  let at = 0;
  for (const { writes } of commits) {
    for (const { key, value } of writes) {
      into.writeUInt16BE(key.length, at);
      into.writeUInt32BE(value === null ? REMOVED : value.length, at + 2);
      into.set(key, at + HEAD);
      at += HEAD + key.length;
      if (value === null) continue;
      into.set(value, at);
      at += value.length;
    }
  }
}

/** The same back. Its record's checksum held, so it is what was encoded. */
export function decodeWrites(body: Buffer): Write[] {
  const writes: Write[] = [];
  let at = 0;
  const take = (bytes: number): Uint8Array => {
    at += bytes;
    return new Uint8Array(body.subarray(at - bytes, at));
  };
  while (at < body.length) {
    const keyBytes = body.readUInt16BE(at);
    const valueBytes = body.readUInt32BE(at + 2);
    at += HEAD;
    const key = take(keyBytes);
    writes.push({ key, value: valueBytes === REMOVED ? null : take(valueBytes) });
  }
  return writes;
}
