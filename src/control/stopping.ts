import type { DescService } from "@bufbuild/protobuf";
import { answersStream, type CallContext, type Handlers } from "../wire/rpc.ts";
import { StatusError } from "../wire/status.ts";

/**
 * The end of all streams: tethers and watches never end by themselves, and a control plane that stops
 * must not wait for them. Each is told UNAVAILABLE, so that its reader comes back to whoever is next.
 */
export class Stopping {
  readonly #waiting = new Set<() => void>();
  #stopped = false;

  stop(): void {
    this.#stopped = true;
    for (const end of this.#waiting) end();
  }

  /** The same service, whose streams end when `stop` is called. */
  ends<S extends DescService>(service: S, handlers: Handlers<S>): Handlers<S> {
    type Any = (request: unknown, context: CallContext) => unknown;
    const wrapped = service.methods.map((method) => {
      const handler = (handlers as unknown as Record<string, Any>)[method.localName] as Any;
      const ending: Any = (request, context) =>
        this.#upTo(handler(request, context) as AsyncIterable<unknown>);
      return [method.localName, answersStream(method) ? ending : handler] as const;
    });
    return Object.fromEntries(wrapped) as unknown as Handlers<S>;
  }

  async *#upTo<T>(answers: AsyncIterable<T>): AsyncGenerator<T> {
    const iterator = answers[Symbol.asyncIterator]();
    try {
      for (;;) {
        const step = await this.#orStopped(iterator.next());
        if (step.done) return;
        yield step.value;
      }
    } finally {
      // Not awaited: it may be waiting for something that never comes.
      Promise.resolve(iterator.return?.()).catch(() => {});
    }
  }

  /** Leaves nothing behind: a stream may live for weeks. */
  #orStopped<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const end = (): void =>
        reject(new StatusError("UNAVAILABLE", "SHUTTING_DOWN", "this control plane stops"));
      this.#waiting.add(end);
      work.then(resolve, reject).finally(() => this.#waiting.delete(end));
      if (this.#stopped) end();
    });
  }
}
