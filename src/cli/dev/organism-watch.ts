import { storyShowMsMax } from "../../domain/limits.ts";
import { type OrganismView, watchOrganisms } from "../actions/organism.ts";
import type { Control } from "../client.ts";
import { EXIT, Failure } from "../failure.ts";

/** One organism as `OrganismService.Watch` tells it: every change once, in order. */
export class OrganismWatch {
  readonly #instanceId: string;
  readonly #abort = new AbortController();
  #latest: OrganismView | null = null;
  #wake: (() => void) | null = null;
  #failure: unknown = null;

  constructor(control: Control, instanceId: string) {
    this.#instanceId = instanceId;
    void this.#follow(control);
  }

  /** Resolves with the organism once it is as wanted. */
  async until(what: string, wanted: (organism: OrganismView) => boolean): Promise<OrganismView> {
    const late = Date.now() + storyShowMsMax;
    for (;;) {
      if (this.#latest !== null && wanted(this.#latest)) return this.#latest;
      if (this.#failure !== null) throw this.#failure;
      const left = late - Date.now();
      if (left <= 0) {
        const now = this.#latest?.state ?? "not seen";
        throw new Failure(EXIT.failed, `${what} did not come true: the organism is ${now}`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Whoever waits for the organism waits no longer. */
  close(): void {
    this.#abort.abort();
    this.#failure ??= new Failure(EXIT.failed, "the organism is not watched any more");
    this.#wake?.();
  }

  async #follow(control: Control): Promise<void> {
    const { signal } = this.#abort;
    try {
      for await (const change of watchOrganisms(control, {}, signal)) {
        if (change.event !== "ORGANISM") continue;
        if (change.organism.instanceId !== this.#instanceId) continue;
        this.#latest = change.organism;
        this.#wake?.();
      }
    } catch (error) {
      if (signal.aborted) return;
      this.#failure = error;
      this.#wake?.();
    }
  }
}
