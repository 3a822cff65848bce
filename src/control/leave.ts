import type { DescService } from "@bufbuild/protobuf";
import { toHex } from "../domain/bytes.ts";
import { answersStream, type CallContext, type Handlers } from "../wire/rpc.ts";
import type { StatusError } from "../wire/status.ts";
import { Tail } from "../wire/tail.ts";
import { isOperator, loginOf, type Operator, unauthenticated } from "./auth.ts";
import type { Tenant } from "./tenant.ts";

/** What ends streams, by the login key (hex) that they were let in by. */
type Ends = Map<string, { readonly key: Uint8Array; readonly ends: Set<() => void> }>;

/** Of each tenant: a thousand streams of one key are one question whenever something is revoked. */
const watched = new WeakMap<Tenant, Ends>();

/**
 * The same service, whose streams end once a keyset or a revocation takes their operator's login key
 * away: who was let in for minutes by a token would otherwise be told everything for hours.
 */
export function endingWithLeave<S extends DescService>(
  service: S,
  handlers: Handlers<S>,
): Handlers<S> {
  type Stream = (request: unknown, context: CallContext) => AsyncIterable<unknown, unknown>;
  const wrapped = service.methods.map((method) => {
    const handler = (handlers as unknown as Record<string, Stream>)[method.localName] as Stream;
    const ending: Stream = (request, context) =>
      isOperator(context.caller)
        ? whileLeft(context.caller, context, (inner) => handler(request, inner))
        : handler(request, context);
    return [method.localName, answersStream(method) ? ending : handler] as const;
  });
  return Object.fromEntries(wrapped) as unknown as Handlers<S>;
}

async function* whileLeft(
  { tenant, key }: Operator,
  context: CallContext,
  stream: (context: CallContext) => AsyncIterable<unknown, unknown>,
): AsyncGenerator<unknown, unknown> {
  const inner = new AbortController();
  let isOver = false;
  let end = (): void => inner.abort();
  const abort = (): void => end();
  context.signal.addEventListener("abort", abort, { once: true });
  if (context.signal.aborted) end();
  const forget = endsOf(tenant, key, () => {
    isOver = true;
    end();
  });
  let rest: Tail | null = null;
  try {
    if (!isLeft(tenant, key)) {
      isOver = true;
      end();
    }
    const tail = yield* stream({ ...context, signal: inner.signal });
    if (tail instanceof Tail) {
      end = () => tail.queue.fail(takenAway(key));
      if (isOver) end();
      rest = new Tail(tail.queue, () => {
        forget();
        tail.done();
      });
      return rest;
    }
  } finally {
    context.signal.removeEventListener("abort", abort);
    if (rest === null) forget();
  }
  if (isOver) throw takenAway(key);
  return undefined;
}

const takenAway = (key: Uint8Array): StatusError =>
  unauthenticated(`login key ${toHex(key)} was expired, given up or taken back`);

const isLeft = (tenant: Tenant, key: Uint8Array): boolean =>
  loginOf(tenant, key, tenant.nowUs()) !== undefined;

/** Has `over` called once the key is taken away. Returns the way to stop. */
function endsOf(tenant: Tenant, key: Uint8Array, over: () => void): () => void {
  const all = watched.get(tenant) ?? watch(tenant);
  const name = toHex(key);
  const known = all.get(name) ?? { key, ends: new Set() };
  all.set(name, known);
  known.ends.add(over);
  return () => {
    known.ends.delete(over);
    if (known.ends.size === 0 && all.get(name) === known) all.delete(name);
  };
}

function watch(tenant: Tenant): Ends {
  const all: Ends = new Map();
  tenant.subscribe(({ entries }) => {
    if (!entries.some((e) => e.what === "keyset" || e.what === "revocation")) return;
    for (const { key, ends } of all.values()) {
      if (isLeft(tenant, key)) continue;
      for (const over of ends) over();
    }
  });
  watched.set(tenant, all);
  return all;
}
