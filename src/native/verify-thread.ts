import { Worker } from "node:worker_threads";
import { concat } from "../domain/bytes.ts";
import { keysRememberedMax } from "../domain/limits.ts";

const WORKER = new URL("./verify-worker.mjs", import.meta.url);

/** What travels to the worker: of each signature its key, itself and its message, joined, and how long the message is. */
interface Request {
  readonly lengths: Uint32Array<ArrayBuffer>;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** Checked together at most, some five milliseconds: whoever was first must not wait for all. So many wait for nothing. */
const TOGETHER_MAX = 64;

interface Asked {
  readonly key: Uint8Array;
  readonly message: Uint8Array;
  readonly signature: Uint8Array;
  readonly resolve: (holds: boolean) => void;
  readonly reject: (error: Error) => void;
}

export interface VerifyThreadOptions {
  /**
   * Awaited after signatures that were checked together, before further ones are sent, so that more go together.
   * Whoever asks alone never waits for it.
   */
  readonly gather: () => Promise<void>;
  /** Keys that it remembers as OpenSSL takes them. */
  readonly keysMax?: number;
}

/**
 * Checks signatures on one other thread, many at a time: to wake a thread up for each takes the one that asks as
 * long as checking it. The thread is started when there is something to check. It keeps no process alive.
 */
export class VerifyThread {
  readonly #options: VerifyThreadOptions;
  #worker: Worker | null = null;
  #waiting: Asked[] = [];
  /** What the worker was sent, and has not answered, in that order. */
  #underWay: (readonly Asked[])[] = [];
  /** What is asked now goes later, with whatever else waits by then. */
  #isHeld = false;
  #isClosed = false;

  constructor(options: VerifyThreadOptions) {
    this.#options = options;
  }

  /**
   * Whether OpenSSL takes this for an Ed25519 signature. None of the bytes may change until that is told.
   * Rejects when the thread is gone; another is started for what is asked next.
   *
   * @param key 32 bytes
   * @param signature 64 bytes
   */
  holds(key: Uint8Array, message: Uint8Array, signature: Uint8Array): Promise<boolean> {
    if (this.#isClosed) return Promise.reject(closed());
    return new Promise((resolve, reject) => {
      this.#waiting.push({ key, message, signature, resolve, reject });
      // It never waits for work: where this thread is slow, its answers are slow to be taken.
      if (this.#waiting.length === TOGETHER_MAX) this.#send();
      if (this.#isHeld) return;
      this.#isHeld = true;
      // When all that came in this turn of the event loop is read.
      setImmediate(() => this.#next());
    });
  }

  /** Whatever is not told by now never will be. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const worker = this.#worker;
    this.#gone(closed());
    await worker?.terminate();
  }

  /** What waits goes to a thread that has nothing to do; what was gathered for one that is gone waits for the answer of the next. */
  #next(): void {
    if (this.#underWay.length > 0) return;
    this.#isHeld = this.#waiting.length > 0;
    if (this.#isHeld) this.#send();
  }

  #send(): void {
    const batch = this.#waiting;
    this.#waiting = [];
    this.#underWay.push(batch);
    const request = joined(batch);
    this.#started().postMessage(request, [request.bytes.buffer, request.lengths.buffer]);
  }

  #told(holds: Uint8Array): void {
    const batch = this.#underWay.shift() ?? [];
    for (const [i, { resolve }] of batch.entries()) resolve(holds[i] === 1);
    if (this.#underWay.length > 0) return;
    if (batch.length === 1) this.#next();
    else void this.#options.gather().then(() => this.#next());
  }

  #started(): Worker {
    if (this.#worker !== null) return this.#worker;
    const worker = new Worker(WORKER, {
      name: "verify",
      workerData: { keysMax: this.#options.keysMax ?? keysRememberedMax },
      stdin: true,
      execArgv: [],
      // What it makes is short-lived and small; a heap grown to the default would only be resident.
      resourceLimits: { maxYoungGenerationSizeMb: 6 },
    });
    const ended = (error: Error): void => {
      if (this.#worker === worker) this.#gone(error);
    };
    worker.on("message", (holds: Uint8Array) => {
      if (this.#worker === worker) this.#told(holds);
    });
    worker.on("error", (cause) => ended(new Error("what checks signatures failed", { cause })));
    worker.on("exit", (code) => ended(new Error(`what checks signatures ended (exit ${code})`)));
    // After the listeners: the first for messages would take it back.
    worker.unref();
    this.#worker = worker;
    return worker;
  }

  #gone(error: Error): void {
    this.#worker = null;
    this.#isHeld = false;
    const refused = [...this.#underWay.splice(0).flat(), ...this.#waiting.splice(0)];
    for (const { reject } of refused) reject(error);
  }
}

const joined = (batch: readonly Asked[]): Request => ({
  lengths: Uint32Array.from(batch, ({ message }) => message.length),
  bytes: concat(...batch.flatMap(({ key, signature, message }) => [key, signature, message])),
});

const closed = (): Error => new Error("signatures are checked no more");
