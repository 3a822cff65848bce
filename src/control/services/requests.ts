import {
  create,
  type DescMessage,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { fromBase64Url, toBase64Url, toHex } from "../../domain/bytes.ts";
import { type Codec, CodecError, message, str, u64 } from "../../domain/canonical.ts";
import { type Invalid, isInvalid } from "../../domain/invalid.ts";
import { pageBytesMax, pageSizeDefault, pageSizeMax, requestIdMax } from "../../domain/limits.ts";
import type { SignedBytes } from "../../domain/signed.ts";
import { native } from "../../native/crypto.ts";
import { refusal, StatusError } from "../../wire/status.ts";
import type { Operator } from "../auth.ts";
import type { Recordable } from "../projection.ts";
import { type Draft, type RequestKey, RequestReused, type Tenant } from "../tenant.ts";

/** What handlers have in common: arguments, pages, and requests that are carried out once. */

export const badArgument = (field: string, problem: string): StatusError =>
  new StatusError("INVALID_ARGUMENT", "ARGUMENT_INVALID", `${field}: ${problem}`, { field });

/** Also for what another tenant has: nobody learns that it exists. */
export const notFound = (what: string): StatusError =>
  new StatusError("NOT_FOUND", "NO_SUCH_OBJECT", `no such ${what}`);

/** An artifact that is to be believed, or the refusal of it. */
export function believed<T extends object>(artifact: T | Invalid): T {
  if (isInvalid(artifact)) throw refusal(artifact);
  return artifact;
}

export function exactBytes(value: Uint8Array, field: string, length = 32): Uint8Array {
  if (value.length !== length) {
    throw badArgument(field, `must be ${length} bytes, has ${value.length}`);
  }
  return value;
}

/** Reads a body before its signatures were looked at, to know what to judge it by. */
export function peek<T>(codec: Codec<T>, signed: SignedBytes, field: string): T {
  try {
    return codec.decode(signed.body);
  } catch (error) {
    if (error instanceof CodecError) throw badArgument(field, error.message);
    throw error;
  }
}

/** What has ended already is not recorded: it could never permit anything. */
export function notOver(what: string, { notAfterUs }: { notAfterUs: number }, nowUs: number): void {
  if (nowUs >= notAfterUs) throw badArgument(`${what}.not_after_us`, "has passed already");
}

/** @throws StatusError when operators have taken the manifest back: nothing new stands on it. */
export function notRetired(tenant: Tenant, manifestHash: Uint8Array): void {
  const epoch = tenant.revokedEpoch("MANIFEST", manifestHash);
  if (epoch === 0) return;
  throw new StatusError(
    "FAILED_PRECONDITION",
    "MANIFEST_RETIRED",
    `manifest_hash: retired by revocation ${epoch}; record and grant another version`,
  );
}

/** @throws StatusError when operators have taken a key back that signed this: it speaks no more. */
export function notByRevoked(tenant: Tenant, what: string, { signatures }: SignedBytes): void {
  for (const { key } of signatures) {
    const epoch = tenant.revokedEpoch("KEY", key);
    if (epoch === 0) continue;
    throw new StatusError(
      "PERMISSION_DENIED",
      "E_REVOKED",
      `${what}: key ${toHex(key)} was taken back by revocation ${epoch}; sign with another`,
    );
  }
}

// Requests that change something

const REQUEST_ID = new RegExp(`^[\\x21-\\x7e]{1,${requestIdMax}}$`);

interface Mutating {
  readonly requestId: string;
}

/** The one key of a request: the same id of another method, or another caller, is another request. */
export function requestKey<I extends DescMessage>(
  method: DescMethodUnary<I, DescMessage>,
  actor: Uint8Array,
  request: MessageShape<I> & Mutating,
): RequestKey {
  if (!REQUEST_ID.test(request.requestId)) {
    throw badArgument("request_id", `choose 1 to ${requestIdMax} printable ASCII characters`);
  }
  return {
    id: `${methodName(method)} ${toHex(actor)} ${request.requestId}`,
    digest: native.sha256(toBinary(method.input, request)),
  };
}

export const methodName = (method: DescMethodUnary<DescMessage, DescMessage>): string =>
  `${method.parent.typeName}/${method.name}`;

/**
 * Carries out an operator's request once, recorded with its actor. `prepare` decides, and throws
 * where it refuses; its answer gets the tenant ledger's size after it.
 */
export async function mutation<I extends DescMessage, O extends DescMessage>(
  method: DescMethodUnary<I, O>,
  { tenant, key }: Operator,
  request: MessageShape<I> & Mutating,
  prepare: () => Promise<{
    entries: readonly Recordable[];
    writes?: Draft["writes"];
    answer: (revision: number) => MessageInitShape<O>;
  }>,
): Promise<MessageShape<O>> {
  const asked = { actor: key, method: methodName(method), requestId: request.requestId };
  const bytes = await once(() =>
    tenant.mutate(requestKey(method, key, request), async () => {
      const { entries, writes = [], answer } = await prepare();
      const encode = (revision: number) =>
        toBinary(method.output, create(method.output, answer(revision)));
      return { entries, writes, asked, answer: encode };
    }),
  );
  return fromBinary(method.output, bytes);
}

/** Says a reused request id as callers should hear it. */
export async function once<T>(carryOut: () => Promise<T>): Promise<T> {
  try {
    return await carryOut();
  } catch (error) {
    if (!(error instanceof RequestReused)) throw error;
    throw new StatusError(
      "INVALID_ARGUMENT",
      "REQUEST_ID_REUSED",
      "request_id: was used for another request; choose a new one",
      { field: "request_id" },
    );
  }
}

// Pages

interface PageRequest {
  readonly pageSize: number;
  readonly pageToken: string;
}

/** Where a listing goes on. Opaque to callers; good for the method that gave it alone. */
const PageToken = message("pageToken", {
  method: str(1),
  after: str(2),
  afterSeq: u64(3),
  /** That the first page gave, where a watch follows the listing. */
  resumeToken: str(4),
});

export interface Page<T> {
  readonly items: T[];
  readonly nextPageToken: string;
}

/** How much was asked for, and after what. @throws INVALID_ARGUMENT for a token not of this method. */
export function pageOf(
  method: DescMethodUnary<DescMessage, DescMessage>,
  { pageSize, pageToken }: PageRequest,
): { size: number; after: string; afterSeq: number; resumeToken: string } {
  if (pageSize < 0) throw badArgument("page_size", "must not be negative; 0 is the default");
  const size = pageSize === 0 ? pageSizeDefault : Math.min(pageSize, pageSizeMax);
  if (pageToken === "") return { size, after: "", afterSeq: 0, resumeToken: "" };
  try {
    const token = PageToken.decode(fromBase64Url(pageToken));
    if (token.method === methodName(method)) return { ...token, size };
  } catch {
    // Said below: what is wrong with it is nobody's business.
  }
  throw badArgument("page_token", "must be a next_page_token of this very method");
}

export const pageToken = (
  method: DescMethodUnary<DescMessage, DescMessage>,
  last: { after?: string; afterSeq?: number; resumeToken?: string },
): string =>
  toBase64Url(
    PageToken.encode({
      method: methodName(method),
      after: last.after ?? "",
      afterSeq: last.afterSeq ?? 0,
      resumeToken: last.resumeToken ?? "",
    }),
  );

/**
 * One page of what is ordered by a name that is unique and stays.
 * @param resumeToken for `pageOf` of the next page.
 */
export function pageByName<T>(
  method: DescMethodUnary<DescMessage, DescMessage>,
  request: PageRequest,
  all: readonly T[],
  nameOf: (item: T) => string,
  resumeToken = "",
): Page<T> {
  const { size, after } = pageOf(method, request);
  const rest = all
    .filter((item) => nameOf(item) > after)
    .sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
  const items = rest.slice(0, size);
  if (rest.length === items.length) return { items, nextPageToken: "" };
  const last = items.at(-1) as T;
  return { items, nextPageToken: pageToken(method, { after: nameOf(last), resumeToken }) };
}

/**
 * One page of what is ordered by a number that ascends. `bytesOf` says what an item weighs, where
 * items may be so large that a page is full before its count is.
 */
export function pageBySeq<T>(
  method: DescMethodUnary<DescMessage, DescMessage>,
  request: PageRequest,
  all: Iterable<T>,
  seqOf: (item: T) => number,
  bytesOf: (item: T) => number = () => 0,
): Page<T> {
  const { size, afterSeq } = pageOf(method, request);
  const items: T[] = [];
  let bytes = 0;
  for (const item of all) {
    if (seqOf(item) <= afterSeq) continue;
    bytes += bytesOf(item);
    if (items.length === size || (items.length > 0 && bytes > pageBytesMax)) {
      const last = items.at(-1) as T;
      return { items, nextPageToken: pageToken(method, { afterSeq: seqOf(last) }) };
    }
    items.push(item);
  }
  return { items, nextPageToken: "" };
}
