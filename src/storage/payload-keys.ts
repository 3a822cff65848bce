import { hash, randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  existsSync,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { payloadKeysAhead } from "../domain/limits.ts";
import { StorageFailed } from "./store.ts";

const KEY_BYTES = 32;
const NONCE_BYTES = 16;
const HEAD_BYTES = 1 + 8 + NONCE_BYTES;
const BLOCK_BYTES = payloadKeysAhead * KEY_BYTES;
/** Begins whatever is sealed; nothing that the ledger keeps in the clear begins so. */
const SEALED = 0;

/**
 * A key for each payload that is kept, in a file of its own beside the store: `payload.keys`, 32 random bytes a
 * slot, overwritten in place. Databases and journals keep what was deleted in pages that are free; what stands
 * in them is sealed, and without its key it is noise. To erase a payload is to overwrite its key.
 *
 *     sealed = 0x00 ‖ u64be slot ‖ nonce (16) ‖ data ⊕ SHAKE256(key ‖ nonce)
 *
 * What was sealed is held to its salted commitment when it is read, so the seal itself need not prove anything.
 * Keys are made ahead, some thousands at once, and are on disk before anything is sealed with one: sealing
 * waits for no disk. What it cannot do: make a copy-on-write file system, or a drive, forget what was overwritten.
 */
export class PayloadKeys {
  readonly #file: number;
  readonly #path: string;
  #slots: number;
  /** The block read or written last. */
  #block = Buffer.alloc(0);
  #blockAt = -1;
  #nonces = Buffer.alloc(0);
  #nonceAt = 0;

  private constructor(path: string, file: number, slots: number) {
    this.#path = path;
    this.#file = file;
    this.#slots = slots;
  }

  /**
   * Opens the keys of a ledger's folder, or begins them.
   * @throws StorageFailed when they cannot be read, or are cut off.
   */
  static open(folder: string): PayloadKeys {
    const path = join(folder, "payload.keys");
    try {
      const fresh = !existsSync(path);
      const file = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
      if (fresh) syncFolder(dirname(path));
      // A block that a crash cut off was never used: it is made anew.
      const slots = Math.floor(fstatSync(file).size / BLOCK_BYTES) * payloadKeysAhead;
      return new PayloadKeys(path, file, slots);
    } catch (error) {
      throw new StorageFailed(`cannot open ${path}: ${(error as Error).message}`, { cause: error });
    }
  }

  /** Seals with the key of a slot, which is made if it is not there. Each call has its own nonce. */
  seal(slot: number, data: Uint8Array): Uint8Array {
    const key = this.#key(slot, true);
    if (key === null) throw new StorageFailed(`${this.#path}: the key of ${slot} was erased`);
    const out = new Uint8Array(HEAD_BYTES + data.length);
    out[0] = SEALED;
    new DataView(out.buffer).setBigUint64(1, BigInt(slot));
    const nonce = this.#nonce();
    out.set(nonce, 9);
    xor(data, stream(key, nonce, data.length), out.subarray(HEAD_BYTES));
    return out;
  }

  /** What was sealed; null: its key was erased. */
  open(sealed: Uint8Array): Uint8Array | null {
    const key = this.#key(slotOf(sealed), false);
    if (key === null) return null;
    const data = sealed.subarray(HEAD_BYTES);
    const out = new Uint8Array(data.length);
    xor(data, stream(key, sealed.subarray(9, HEAD_BYTES), data.length), out);
    return out;
  }

  /** Overwrites a key. It is gone from the file when this returns. */
  erase(slot: number): void {
    if (slot >= this.#slots) return;
    writeSync(this.#file, Buffer.alloc(KEY_BYTES), 0, KEY_BYTES, slot * KEY_BYTES);
    fdatasyncSync(this.#file);
    this.#block.fill(0);
    this.#blockAt = -1;
  }

  close(): void {
    this.#block.fill(0);
    closeSync(this.#file);
  }

  #key(slot: number, make: boolean): Uint8Array | null {
    if (slot >= this.#slots) {
      if (!make)
        throw new StorageFailed(`${this.#path} has no key ${slot}: restore it from a backup`);
      while (slot >= this.#slots) this.#grow();
    }
    const block = Math.floor(slot / payloadKeysAhead);
    if (block !== this.#blockAt) {
      this.#block = Buffer.alloc(BLOCK_BYTES);
      readSync(this.#file, this.#block, 0, BLOCK_BYTES, block * BLOCK_BYTES);
      this.#blockAt = block;
    }
    const at = (slot % payloadKeysAhead) * KEY_BYTES;
    const key = this.#block.subarray(at, at + KEY_BYTES);
    return key.every((byte) => byte === 0) ? null : key;
  }

  #grow(): void {
    const block = randomBytes(BLOCK_BYTES);
    const at = this.#slots * KEY_BYTES;
    if (writeSync(this.#file, block, 0, BLOCK_BYTES, at) !== BLOCK_BYTES)
      throw new StorageFailed(`${this.#path}: the disk is full`);
    fdatasyncSync(this.#file);
    this.#slots += payloadKeysAhead;
  }

  #nonce(): Uint8Array {
    if (this.#nonceAt === this.#nonces.length) {
      this.#nonces = randomBytes(NONCE_BYTES * 1024);
      this.#nonceAt = 0;
    }
    this.#nonceAt += NONCE_BYTES;
    return this.#nonces.subarray(this.#nonceAt - NONCE_BYTES, this.#nonceAt);
  }
}

export const isSealed = (bytes: Uint8Array): boolean =>
  bytes.length >= HEAD_BYTES && bytes[0] === SEALED;

/** Whose key seals it. */
export const slotOf = (sealed: Uint8Array): number =>
  Number(new DataView(sealed.buffer, sealed.byteOffset).getBigUint64(1));

function stream(key: Uint8Array, nonce: Uint8Array, length: number): Buffer {
  if (length === 0) return Buffer.alloc(0);
  const input = Buffer.concat([key, nonce]);
  return hash("shake256", input, { outputEncoding: "buffer", outputLength: length });
}

function xor(data: Uint8Array, pad: Uint8Array, into: Uint8Array): void {
  for (let i = 0; i < data.length; i++) into[i] = (data[i] as number) ^ (pad[i] as number);
}

function syncFolder(path: string): void {
  const folder = openSync(path, "r");
  fsyncSync(folder);
  closeSync(folder);
}
