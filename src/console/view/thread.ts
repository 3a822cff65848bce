import type { Ask, Tell } from "../messages.ts";
import type { Place } from "../row.ts";
import type { Shown } from "../shown.ts";
import { byId } from "./dom.ts";

/** What a trusted-types policy makes of a URL; browsers without trusted types take the string. */
interface TrustedTypes {
  createPolicy(
    name: string,
    rules: { createScriptURL: (url: string) => string },
  ): { createScriptURL: (url: string) => string };
}

/**
 * The worker, made of the text that lies in the page: browsers start none from a file. The page's
 * policy allows this one script to be made, and nothing else of any text.
 */
export class Thread {
  readonly #worker: Worker;
  readonly #pack: Blob;
  readonly #waiting = new Map<number, (tell: Tell) => void>();
  #asked = 0;

  constructor(pack: Blob) {
    this.#pack = pack;
    this.#worker = new Worker(workerUrl());
    this.#worker.addEventListener("message", ({ data }: MessageEvent<Tell>) =>
      this.#waiting.get(data.id)?.(data),
    );
    this.#worker.addEventListener("error", ({ message }) => {
      for (const [id, take] of this.#waiting) take({ tell: "failure", id, message });
    });
  }

  /** Ends with one of report, fault and failure, which `onTell` hears as well. */
  verify(trust: string | null, nowUs: number, onTell: (tell: Tell) => void): void {
    this.#ask({ ask: "verify", id: ++this.#asked, pack: this.#pack, trust, nowUs }, onTell);
  }

  /** @throws Error when the file can no longer be read, or the bytes are no receipt. */
  receipt(place: Place): Promise<Shown> {
    const ask: Ask = { ask: "receipt", id: ++this.#asked, pack: this.#pack, place };
    return new Promise((resolve, reject) => {
      this.#ask(ask, (tell) => {
        this.#waiting.delete(ask.id);
        if (tell.tell === "receipt") resolve(tell.shown);
        else reject(new Error(tell.tell === "failure" ? tell.message : tell.tell));
      });
    });
  }

  end(): void {
    this.#worker.terminate();
  }

  #ask(ask: Ask, take: (tell: Tell) => void): void {
    this.#waiting.set(ask.id, take);
    this.#worker.postMessage(ask);
  }
}

let url: string | null = null;

function workerUrl(): string {
  if (url !== null) return url;
  const text = byId("worker").textContent ?? "";
  url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  const { trustedTypes } = globalThis as { trustedTypes?: TrustedTypes };
  if (trustedTypes === undefined) return url;
  url = trustedTypes
    .createPolicy("verifier", { createScriptURL: (own) => own })
    .createScriptURL(url);
  return url;
}
