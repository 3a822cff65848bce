import type { Socket } from "node:net";
import type { Claim } from "../../src/domain/claim.ts";
import { normaliseHost } from "../../src/domain/host.ts";
import { lingerUs } from "../../src/domain/limits.ts";
import type { Reason } from "../../src/domain/reason.ts";
import type { Clock } from "../../src/native/clock.ts";
import { bytesPassed } from "../engine.ts";
import type { Gate } from "../gate/gate.ts";
import type { Permit } from "../gate/permit.ts";
import { splitTarget } from "../upstream/address.ts";
import type { Reach, Reached } from "../upstream/reach.ts";
import { addressOf } from "./bound.ts";
import type { ClientHello } from "./client-hello.ts";
import type { Denial, Ending, Ingress } from "./exchange.ts";
import { breakOff, HttpReader, send } from "./http-wire.ts";
import { BodyMeter } from "./passage.ts";

export interface OpaqueServices {
  readonly gate: Gate;
  readonly reach: Reach;
  readonly clock: Clock;
}

/** Fatal, access_denied: RFC 8446, §6.2. All that can be said to who has only said hello. */
const ACCESS_DENIED = Buffer.from([21, 3, 3, 0, 2, 2, 49]);

/**
 * Carries one TLS connection that the manifest names as opaque: judged by where it goes and what its
 * ClientHello says of that, then passed on as it is, both ways, counted and digested and not understood.
 * The whole of it is one action.
 *
 * @param hello a string: what is wrong with it. The bytes that it was read from are still in the socket.
 */
export async function serveOpaque(
  socket: Socket,
  hello: ClientHello | string,
  ingress: Ingress,
  services: OpaqueServices,
): Promise<void> {
  const { gate } = services;
  const claim = claimOf(ingress.target);
  const refusal = refusalOf(hello, ingress);
  if (refusal !== null) {
    const known = ingress.fault === null ? claim : null;
    gate.refuse({ claim: known, traceparent: "" }, refusal.reason, refusal.detail);
    hangUp(socket, services.clock);
    return;
  }
  const reader = new HttpReader(socket);
  // What is said in there nobody knows: it may well be kept for what comes next.
  const request = { claim, traceparent: "", deadlineUs: 0, listens: true, inputs: () => [] };
  const admitted = await gate.admit(request);
  if ("denied" in admitted) {
    reader.release();
    hangUp(socket, services.clock);
    return;
  }
  await new OpaqueCall(socket, reader, admitted, addressOf(ingress.dialled), services).run();
}

const claimOf = (target: string): Claim => ({
  version: 1,
  protocol: "OPAQUE",
  target,
  verb: "",
  path: "",
  inputs: [],
  limitState: [],
  scheme: "HTTPS",
});

/** Every place that names the upstream must name the same one, and none may be hidden. */
function refusalOf(
  hello: ClientHello | string,
  { target, fault }: Ingress,
): { readonly reason: Reason; readonly detail: string } | null {
  if (fault !== null) return fault;
  if (typeof hello === "string") return { reason: "REQUEST_NOT_NORMAL", detail: `it ${hello}` };
  if (hello.encrypted) {
    return { reason: "REQUEST_NOT_NORMAL", detail: "its TLS hides a server name (ECH)" };
  }
  const { host } = splitTarget(target);
  const said = hello.serverName;
  const address = /^[0-9.]+$|:/.test(host);
  if (said === null && address) return null;
  const named = said === null ? null : normaliseHost(said);
  if (named === host) return null;
  const detail =
    said === null
      ? `the tunnel is to ${target}, and its TLS names no server`
      : `the tunnel is to ${target}, the TLS server name is another`;
  return { reason: "AUTHORITY_MISMATCH", detail };
}

/** Says no, and lets it be read. */
function hangUp(socket: Socket, clock: Clock): void {
  if (!socket.destroyed) socket.write(ACCESS_DENIED);
  linger(socket, clock);
}

/** Ends a connection so that what was said last is still read. */
function linger(socket: Socket, clock: Clock): void {
  socket.end();
  socket.resume();
  const timer = clock.after(lingerUs, () => socket.destroy());
  socket.once("close", () => timer.cancel());
}

/** From admission to its end, which `#end` tells once. */
class OpaqueCall {
  readonly #socket: Socket;
  readonly #reader: HttpReader;
  readonly #permit: Permit;
  readonly #address: string;
  readonly #services: OpaqueServices;
  readonly #asked = new BodyMeter();
  readonly #answered = new BodyMeter();
  #up: Reached | null = null;
  #firstByteUs = 0;
  #egressLastUs = 0;
  #ended = false;

  constructor(
    socket: Socket,
    reader: HttpReader,
    permit: Permit,
    address: string,
    services: OpaqueServices,
  ) {
    this.#socket = socket;
    this.#reader = reader;
    this.#permit = permit;
    this.#address = address;
    this.#services = services;
  }

  async run(): Promise<void> {
    this.#permit.onCut((denial) => this.#cut(denial));
    if (this.#ended) return;
    const up = await this.#services.reach.connect(
      this.#permit,
      { protocols: [], address: this.#address },
      (reached) => reached,
    );
    if ("unreachable" in up) {
      this.#end("FAILED", up.reason, up.detail);
      this.#reader.release();
      hangUp(this.#socket, this.#services.clock);
      return;
    }
    if (this.#ended) {
      up.socket.destroy();
      return;
    }
    this.#up = up;
    const answers = new HttpReader(up.socket);
    await Promise.all([
      this.#pass(this.#reader, this.#socket, up.socket, "ask"),
      this.#pass(answers, up.socket, this.#socket, "answer"),
    ]);
  }

  /** One direction, to its end. */
  async #pass(reader: HttpReader, from: Socket, to: Socket, way: "ask" | "answer"): Promise<void> {
    for (;;) {
      const bytes = await reader.take();
      if (this.#ended) return;
      if (bytes === null) {
        this.#over(from, way);
        return;
      }
      const leave = this.#permit.spend(bytes.length);
      if ((leave !== true && !(await leave)) || this.#ended) return;
      const now = this.#services.clock.nowUs();
      // What that cuts, it cuts here and now.
      if (!this.#permit.holds(now)) return;
      if (way === "ask") this.#egressLastUs = now;
      else if (this.#firstByteUs === 0) this.#firstByteUs = now;
      (way === "ask" ? this.#asked : this.#answered).push(bytes);
      bytesPassed(bytes.length);
      const wait = send(to, bytes);
      if (wait !== null) await wait;
      if (this.#ended) return;
    }
  }

  /** One side has ended: nothing of TLS goes on without it. */
  #over(from: Socket, way: "ask" | "answer"): void {
    // The agent's end leaves, too.
    if (way === "ask" && !this.#permit.holds(this.#services.clock.nowUs())) return;
    const who = way === "ask" ? "the agent" : "the upstream";
    if (from.readableEnded && this.#answered.bytes > 0) {
      this.#end("COMPLETED", "UNSPECIFIED", `closed by ${who}`);
    } else {
      const reason = way === "ask" ? "CLIENT_CANCELLED" : "UPSTREAM_FAILED";
      const how = from.readableEnded ? "closed before anything was answered" : "broken off";
      this.#end("FAILED", reason, `${how} by ${who}`);
    }
    for (const socket of [this.#socket, this.#up?.socket]) {
      if (socket !== undefined) linger(socket, this.#services.clock);
    }
  }

  /** Leave was taken back. There are no messages to end between, and nobody who could be told. */
  #cut({ reason, message }: Denial): void {
    if (this.#ended) return;
    this.#end("CUT", reason, message);
    breakOff(this.#socket);
    if (this.#up !== null) breakOff(this.#up.socket);
  }

  /** The only way out. */
  #end(verdict: Ending["verdict"], reason: Reason, status: string): void {
    this.#ended = true;
    const passed = (meter: BodyMeter) => ({
      headerNames: [],
      trailerNames: [],
      bodySha256: meter.sha256(),
      bodyBytes: meter.bytes,
      messages: 0,
    });
    this.#services.gate.settle(this.#permit, {
      verdict,
      reason,
      status: `opaque: ${status}`,
      querySha256: new Uint8Array(),
      request: passed(this.#asked),
      response: passed(this.#answered),
      dialled: this.#up?.dialled ?? "",
      peerCertificate: new Uint8Array(),
      firstByteUs: this.#firstByteUs,
      egressLastUs: this.#egressLastUs,
    });
  }
}
