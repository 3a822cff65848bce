import {
  cutBoundaryUs,
  mcpMessageBytesMax,
  mcpUnansweredMax,
  unaryGraceUs,
} from "../../src/domain/limits.ts";
import { PipeFrameReader, pipeFrames, type Side } from "../../src/domain/pipe-frames.ts";
import type { Reason } from "../../src/domain/reason.ts";
import { faultOf } from "../gate/carried-action.ts";
import { mayCompleteMessage, mayFinish } from "../gate/cuts.ts";
import type { Permit } from "../gate/permit.ts";
import type { Denial, Ending } from "./exchange.ts";
import { type HttpReader, type Switched, send } from "./http-wire.ts";
import { LineReader } from "./line-reader.ts";
import { McpAsks } from "./mcp-asks.ts";
import { type About, aboutOf, mcpDenial } from "./mcp-denial.ts";
import { LOCAL_ENDING, McpGuard, type McpGuardServices, oneMessage } from "./mcp-guard.ts";
import {
  idKey,
  type McpId,
  type McpMessage,
  type McpNotification,
  type McpRequest,
  type McpResponse,
  outcomeOf,
  readMessage,
  type Unsound,
} from "./mcp-message.ts";
import { McpTrails } from "./mcp-trails.ts";

/** A request of the agent that its server has, and has not answered. */
interface Call {
  readonly permit: Permit;
  readonly about: About;
  readonly asked: Buffer;
  readonly egressUs: number;
}

const NEWLINE = Buffer.from("\n");

/**
 * An MCP server on pipes, whose ends a wrapper holds: every line of either side comes here, and what is
 * to pass goes back. Lines are judged one after the other, so what is said in an order is heard in it.
 */
export class McpPipe {
  readonly #socket: Switched["socket"];
  readonly #reader: HttpReader;
  readonly #services: Omit<McpGuardServices, "trails">;
  readonly #guard: McpGuard;
  readonly #agent = new LineReader(mcpMessageBytesMax);
  readonly #server = new LineReader(mcpMessageBytesMax);
  readonly #calls = new Map<string, Call>();
  /** Ids of calls that ended unanswered: an answer that comes late is none to whoever asks by them anew. */
  readonly #unanswered = new Set<string>();
  /** Requests of the server to the agent. */
  readonly #asks: McpAsks;
  #over = false;

  constructor(
    { socket, reader }: Switched,
    server: string,
    services: Omit<McpGuardServices, "trails">,
  ) {
    this.#socket = socket;
    this.#reader = reader;
    this.#services = services;
    this.#asks = new McpAsks(services.gate);
    // Of this server alone: another one may have the same name.
    this.#guard = new McpGuard(server, { ...services, trails: new McpTrails() });
  }

  /** Resolves once the wrapper has gone, and everything has its receipt. */
  async run(): Promise<void> {
    const frames = new PipeFrameReader();
    while (!this.#over) {
      const chunk = await this.#reader.take();
      const read = chunk === null ? null : frames.push(chunk);
      if (read === null) break;
      for (const { side, bytes } of read) {
        if (!this.#over) await this.#take(side, Buffer.from(bytes));
      }
    }
    this.#end("CLIENT_CANCELLED", "the pipe was closed");
  }

  async #take(side: Side, bytes: Buffer): Promise<void> {
    if (bytes.length === 0) {
      if (side === "SERVER") this.#settleAll("UPSTREAM_FAILED", "the server ended unanswered");
      await this.#write(side === "AGENT" ? "SERVER" : "AGENT", bytes);
      return;
    }
    const lines = (side === "AGENT" ? this.#agent : this.#server).push(bytes);
    if (lines === null) {
      const detail = `a line of the ${side.toLowerCase()} has more than ${mcpMessageBytesMax} bytes`;
      this.#guard.refuse({ reason: "MESSAGE_TOO_LARGE", detail });
      this.#end("MESSAGE_TOO_LARGE", detail);
      return;
    }
    for (const line of lines) {
      if (this.#over || line.length === 0) continue;
      await (side === "AGENT" ? this.#fromAgent(line) : this.#fromServer(line));
    }
  }

  async #fromAgent(line: Buffer): Promise<void> {
    const message = readLine(line);
    if ("unsound" in message) {
      const about = { id: message.id, method: "", modern: false };
      await this.#say("AGENT", mcpDenial(this.#guard.refuse(message), about));
    } else if (message.kind === "response") {
      await this.#answered(message, line);
    } else {
      await this.#asked(message, line);
    }
  }

  /** A request or a notification of the agent. */
  async #asked(message: McpRequest | McpNotification, line: Buffer): Promise<void> {
    const about = message.kind === "request" ? aboutOf(message) : null;
    const key = about === null ? "" : idKey(about.id as McpId);
    const twice = this.#calls.has(key) || this.#unanswered.has(key);
    const leave = twice
      ? this.#guard.refuse({ reason: "REQUEST_NOT_NORMAL", detail: "its id waits for an answer" })
      : await this.#guard.admit(message, line, "");
    if ("denied" in leave) {
      // A notification has no answer: it is dropped.
      if (about !== null) await this.#say("AGENT", mcpDenial(leave, about));
      return;
    }
    const egressUs = await this.#toServer(leave, line);
    if (egressUs === 0) {
      const denial =
        leave.cutBy ?? this.#guard.refuse({ reason: "LIMIT_SPENT", detail: "its bytes" });
      this.#settle(leave, "CUT", denial.reason, denial.message, {});
      if (about !== null) await this.#say("AGENT", mcpDenial(denial, about));
      return;
    }
    const request = oneMessage(line);
    if (message.kind === "notification") {
      if (message.method === "notifications/cancelled") this.#cancelled(message);
      this.#settle(leave, "COMPLETED", "UNSPECIFIED", "mcp sent", {
        request,
        egressLastUs: egressUs,
      });
      return;
    }
    const call: Call = { permit: leave, about: aboutOf(message), asked: line, egressUs };
    this.#calls.set(idKey(message.id), call);
    leave.onCut((denial) => this.#cut(call, denial));
  }

  /** Lets a line go to the server, if leave for it still holds. @returns when; 0: it did not. */
  async #toServer(permit: Permit, line: Buffer): Promise<number> {
    if (!(await permit.spend(line.length))) return 0;
    const nowUs = this.#services.clock.nowUs();
    if (this.#over || !permit.holds(nowUs)) return 0;
    await this.#say("SERVER", line);
    return nowUs;
  }

  #cancelled({ params }: McpNotification): void {
    const said = params.get("requestId");
    const id = typeof said === "bigint" ? Number(said) : said;
    if (typeof id !== "string" && typeof id !== "number") return;
    const call = this.#calls.get(idKey(id));
    if (call !== undefined) this.#close(call, "FAILED", "CLIENT_CANCELLED", "cancelled", null);
  }

  /** The agent's answer to what the server asked; to nothing, it goes nowhere. */
  async #answered(message: McpResponse, line: Buffer): Promise<void> {
    const ask = message.id === null ? null : this.#asks.take("", message.id);
    if (ask === null) {
      const detail = "it answers nothing that its server asked";
      this.#guard.refuse({ reason: "REQUEST_NOT_NORMAL", detail });
      return;
    }
    const egressLastUs = await this.#toServer(ask.permit, line);
    const { status, failed } = outcomeOf(message);
    const passed = { request: oneMessage(line), response: oneMessage(ask.asked), egressLastUs };
    const cutBy = ask.permit.cutBy;
    if (egressLastUs === 0) {
      const why = cutBy?.reason ?? "LIMIT_SPENT";
      this.#settle(ask.permit, "CUT", why, "its answer did not pass", {
        response: passed.response,
      });
    } else if (failed) this.#settle(ask.permit, "FAILED", "UPSTREAM_FAILED", status, passed);
    else this.#settle(ask.permit, "COMPLETED", "UNSPECIFIED", status, passed);
  }

  async #fromServer(line: Buffer): Promise<void> {
    const message = readLine(line);
    if ("unsound" in message) this.#drop(`what the server said cannot be read: ${message.detail}`);
    else if (message.kind === "response") await this.#result(message, line);
    else if (message.kind === "request") await this.#ask(message, line);
    else if (!message.method.startsWith("notifications/")) this.#drop("it says what is no method");
    else if (this.#guard.mayHear) await this.#say("AGENT", line);
  }

  async #result(message: McpResponse, line: Buffer): Promise<void> {
    const key = message.id === null ? "" : idKey(message.id);
    const call = this.#calls.get(key);
    this.#unanswered.delete(key);
    if (call === undefined) return this.#drop("the server answers what nobody waits for");
    const seen = await this.#guard.answer(call, message, line);
    if (!this.#waits(call)) return;
    if (!("pass" in seen)) {
      const denial =
        "denied" in seen ? seen.denied : faultOf(call.permit, "UPSTREAM_FAILED", seen.fault);
      await this.#refuse(call, "FAILED", denial);
      // It was answered, if not well.
      this.#unanswered.delete(key);
      return;
    }
    const shown = seen.pass;
    // Without leave for its bytes the call is cut, and `#cut` answers it.
    if (!(await call.permit.spend(shown.length)) || !this.#waits(call)) return;
    call.permit.holds(this.#services.clock.nowUs());
    if (!this.#waits(call)) return;
    const { status, failed } = outcomeOf(message);
    if (failed) this.#close(call, "FAILED", "UPSTREAM_FAILED", status, shown);
    else this.#close(call, "COMPLETED", "UNSPECIFIED", status, shown);
    await this.#say("AGENT", shown);
  }

  /** A request of the server: passed on by leave, else answered here. */
  async #ask(message: McpRequest, line: Buffer): Promise<void> {
    const { id, method } = message;
    const leave = await this.#guard.ask(message);
    if ("denied" in leave) {
      await this.#say("SERVER", mcpDenial(leave, { id, method, modern: false }));
      return;
    }
    await leave.spend(line.length);
    if (!this.#asks.add("", id, { permit: leave, asked: line, by: this })) return;
    if (this.#over) return this.#settleAll("CLIENT_CANCELLED", "the pipe was closed");
    await this.#say("AGENT", line);
  }

  /** What a server says and nobody should hear: it is told in a receipt. */
  #drop(detail: string): void {
    this.#guard.refuse({ reason: "FRAMING_INVALID", detail });
  }

  #waits(call: Call): boolean {
    return this.#calls.get(idKey(call.about.id as McpId)) === call;
  }

  /** Leave was taken back from a call under way. */
  #cut(call: Call, denial: Denial): void {
    if (!this.#waits(call)) return;
    const shape = call.about.method === "subscriptions/listen" ? "streaming" : "answering";
    const now = (): void => void this.#refuse(call, "CUT", denial);
    if (mayFinish(denial.reason, shape)) {
      this.#services.clock.after(unaryGraceUs, now);
    } else if (!this.#server.atBoundary && mayCompleteMessage(denial.reason, "MCP")) {
      this.#services.clock.after(cutBoundaryUs, now);
    } else now();
  }

  /** Answers a call by a refusal; what its server says of it later is not heard. */
  async #refuse(call: Call, verdict: Ending["verdict"], denial: Denial): Promise<void> {
    if (!this.#waits(call)) return;
    this.#close(call, verdict, denial.reason, denial.message, null);
    await this.#say("AGENT", mcpDenial(denial, call.about));
  }

  #close(
    call: Call,
    verdict: Ending["verdict"],
    reason: Reason,
    status: string,
    answer: Buffer | null,
  ): void {
    const key = idKey(call.about.id as McpId);
    this.#calls.delete(key);
    if (answer === null) this.#leaveUnanswered(key);
    this.#settle(call.permit, verdict, reason, status, {
      request: oneMessage(call.asked),
      egressLastUs: call.egressUs,
      ...(answer === null
        ? {}
        : { response: oneMessage(answer), firstByteUs: this.#services.clock.nowUs() }),
    });
  }

  #leaveUnanswered(key: string): void {
    this.#unanswered.add(key);
    if (this.#unanswered.size <= mcpUnansweredMax) return;
    for (const oldest of this.#unanswered) {
      this.#unanswered.delete(oldest);
      break;
    }
  }

  #settle(
    permit: Permit,
    verdict: Ending["verdict"],
    reason: Reason,
    status: string,
    passed: Partial<Ending>,
  ): void {
    this.#services.gate.settle(permit, { ...LOCAL_ENDING, ...passed, verdict, reason, status });
  }

  #settleAll(reason: Reason, status: string): void {
    for (const call of [...this.#calls.values()]) {
      const cutBy = call.permit.cutBy;
      if (cutBy === null) this.#close(call, "FAILED", reason, status, null);
      else this.#close(call, "CUT", cutBy.reason, cutBy.message, null);
    }
    this.#asks.ended("", this, reason, status);
  }

  #say(side: Side, message: Buffer): Promise<void> {
    return this.#write(side, Buffer.concat([message, NEWLINE]));
  }

  async #write(side: Side, bytes: Buffer): Promise<void> {
    if (this.#over) return;
    const wait = send(this.#socket, pipeFrames(side, bytes));
    if (wait !== null) await wait;
  }

  #end(reason: Reason, status: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#settleAll(reason, status);
    this.#reader.release();
    this.#socket.destroy();
  }
}

/** A message that is one line to everybody: many a reader ends one at a carriage return, too. */
function readLine(line: Buffer): McpMessage | Unsound {
  const message = readMessage(line);
  if (!line.includes("\r") || "unsound" in message) return message;
  const detail = "it has a carriage return, at which some end a line";
  return { unsound: true, reason: "REQUEST_NOT_NORMAL", detail, id: message.id };
}
