import { readdirSync } from "node:fs";
import { join } from "node:path";
import { type DescFile, type DescMethod, toBinary } from "@bufbuild/protobuf";
import { type Access, accessOf } from "../../src/control/access.ts";
import type { CallOptions } from "../../src/wire/rpc.ts";
import { StatusError } from "../../src/wire/status.ts";
import type { Door } from "./world.ts";

/**
 * Every RPC of the contract, read from the generated descriptors themselves: a new one, in whatever
 * file, is in every walk from the moment it is generated.
 */

/** Served by a sidecar on the unix socket in its own folder, and by no control plane. */
const SERVED_BY_SIDECARS = ["dragons.v1.EvidenceService"];

const GENERATED = join(import.meta.dirname, "../../src/gen/dragons/v1");
const modules = await Promise.all(
  readdirSync(GENERATED).map(
    (file) => import(join(GENERATED, file)) as Promise<Record<string, unknown>>,
  ),
);
const files = modules.flatMap((m) =>
  Object.entries(m).flatMap(([name, value]) =>
    name.startsWith("file_") ? [value as DescFile] : [],
  ),
);

const all = files.flatMap((f) => f.services);
/** Of sidecars, too. */
export const ALL_METHODS: readonly DescMethod[] = all.flatMap((s) => s.methods);
export const SERVICES = all.filter((s) => !SERVED_BY_SIDECARS.includes(s.typeName));
export const METHODS: readonly DescMethod[] = SERVICES.flatMap((s) => s.methods);
export const nameOf = (m: DescMethod): string => `${m.parent.typeName}/${m.name}`;
export const accessTo = (m: DescMethod): Access => accessOf(m.parent, m.name);
export const METHODS_OF_OPERATORS = METHODS.filter((m) =>
  ["VIEWER", "OPERATOR", "ADMIN"].includes(accessTo(m)),
);

async function* nothing() {
  // A stream that ends before it says anything.
}

/**
 * What an RPC answers within reach, as bytes, or its refusal. A stream is left when `enough` of its
 * answers were had; one that has nothing more to say is left after a while.
 */
export async function answersTo(
  door: Door,
  method: DescMethod,
  request: object,
  options: CallOptions,
  enough = Number.POSITIVE_INFINITY,
): Promise<Uint8Array[] | StatusError> {
  type Any = Record<string, (request: unknown, o: CallOptions) => unknown>;
  const client = door.client(method.parent) as unknown as Any;
  const sends = method.methodKind === "bidi_streaming" || method.methodKind === "client_streaming";
  const found: Uint8Array[] = [];
  const take = (message: unknown): void => {
    found.push(toBinary(method.output, message as never));
  };
  try {
    const answer = client[method.localName]?.(sends ? nothing() : request, {
      ...options,
      timeoutUs: method.methodKind === "unary" ? 5_000_000 : 300_000,
    });
    if (answer instanceof Promise) take(await answer);
    else {
      for await (const message of answer as AsyncIterable<unknown>) {
        take(message);
        if (found.length >= enough) break;
      }
    }
  } catch (error) {
    if (!(error instanceof StatusError)) throw error;
    // A watch goes on for as long as one lets it.
    return error.code === "DEADLINE_EXCEEDED" ? found : error;
  }
  return found;
}
