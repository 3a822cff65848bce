import { mcpTrailsMax } from "../../src/domain/limits.ts";
import type { Json } from "../../src/domain/strict-json.ts";
import { native } from "../../src/native/crypto.ts";
import {
  type McpNotification,
  type McpRequest,
  type McpResponse,
  readMessage,
} from "./mcp-message.ts";

type JsonObject = ReadonlyMap<string, Json>;

/** A call that was let in: what it asked for, and the receipt that its action begins with. */
export interface McpBegun {
  readonly server: string;
  readonly verb: string;
  readonly path: string;
  /** As it was said. */
  readonly asked: Uint8Array;
  readonly receiptId: string;
}

/**
 * What calls left open at their servers, so that whatever goes on from there is seen to be part of the
 * same action: a task, or a result that asks for something and is asked for again with the answers. Kept
 * in memory, the newest of them; what is not known here goes on from nothing.
 */
export class McpTrails {
  /** Receipt ids by what is open, digested: a server may put as much into it as it likes. */
  readonly #receipts = new Map<string, string>();

  /** Remembers what an answer leaves open, if anything. */
  note(begun: McpBegun, { result }: McpResponse): void {
    if (!(result instanceof Map)) return;
    const said = result as JsonObject;
    const task = taskIn(said);
    if (begun.verb === "tools/call" && task !== undefined) this.#keep(taskKey(begun, task), begun);
    const state = said.get("requestState");
    const asks = said.get("inputRequests");
    if (state === undefined && asks === undefined) return;
    const message = readMessage(begun.asked);
    if ("unsound" in message || message.kind === "response") return;
    this.#keep(questionKey(begun, message.params, state, asks), begun);
  }

  /** @returns the receipt that a message goes on from; "": it begins anew; null: nobody knows from where. */
  of(
    server: string,
    path: string,
    { method, params }: McpRequest | McpNotification,
  ): string | null {
    const state = params.get("requestState");
    const answers = params.get("inputResponses");
    const task = TASKS.has(method) ? params.get("taskId") : undefined;
    if (task === undefined && state === undefined && answers === undefined) return "";
    const at = { server, verb: method, path };
    const key = task === undefined ? questionKey(at, params, state, answers) : taskKey(at, task);
    const receiptId = this.#receipts.get(key);
    if (receiptId === undefined) return null;
    this.#keep(key, { receiptId });
    return receiptId;
  }

  #keep(key: string, { receiptId }: Pick<McpBegun, "receiptId">): void {
    this.#receipts.delete(key);
    this.#receipts.set(key, receiptId);
    if (this.#receipts.size <= mcpTrailsMax) return;
    for (const oldest of this.#receipts.keys()) {
      this.#receipts.delete(oldest);
      break;
    }
  }
}

type At = Pick<McpBegun, "server" | "verb" | "path">;

/** Methods that are about one task, by its id. */
const TASKS: ReadonlySet<string> = new Set(["tasks/get", "tasks/result", "tasks/cancel"]);

/** The task that a result stands for: `task` of 2025-11-25, the result itself from 2026-07-28 on. */
function taskIn(result: JsonObject): Json | undefined {
  const task = result.get("resultType") === "task" ? result : result.get("task");
  return task instanceof Map ? (task as JsonObject).get("taskId") : undefined;
}

const taskKey = ({ server }: At, id: Json): string => digest(["task", server, plain(id)]);

/**
 * By the state that is to come back; without one by what was asked for the first time, and the names of
 * what its result asked for.
 */
function questionKey(
  { server, verb, path }: At,
  params: JsonObject,
  state: Json | undefined,
  asks: Json | undefined,
): string {
  if (state !== undefined) return digest([server, verb, path, "state", plain(state)]);
  const names = asks instanceof Map ? [...(asks as JsonObject).keys()].sort(byText) : [];
  return digest([server, verb, path, "asks", names, comparable(params.get("arguments"))]);
}

const byText = (a: string, b: string): number => (a < b ? -1 : 1);

/** Text as it is; whatever should be text and is not, as something that no text is. */
const plain = (value: Json): string | null => (typeof value === "string" ? value : null);

/** Alike for what JSON means alike, whatever the order of its keys. */
const comparable = (value: Json | undefined): unknown => {
  if (value instanceof Map) {
    const entries = [...(value as JsonObject)].sort(([a], [b]) => byText(a, b));
    return { object: entries.map(([key, v]) => [key, comparable(v)]) };
  }
  if (Array.isArray(value)) return value.map(comparable);
  return typeof value === "bigint" ? { integer: String(value) } : value;
};

const digest = (parts: readonly unknown[]): string =>
  Buffer.from(native.sha256(Buffer.from(JSON.stringify(parts)))).toString("base64");
