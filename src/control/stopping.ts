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

  /** Plain objects, and no generator more: there is one of these for each stream of each sidecar. */
  #upTo<T>(answers: AsyncIterable<T>): AsyncIterable<T> {
    const iterator = answers[Symbol.asyncIterator]();
    // Not awaited: it may be waiting for something that never comes.
    const leave = (): void => {
      Promise.resolve(iterator.return?.()).catch(() => {});
    };
    const ended: IteratorReturnResult<undefined> = { done: true, value: undefined };
    return {
      [Symbol.asyncIterator]: () => ({
        next: () => this.#orStopped(iterator, leave),
        return: () => {
          leave();
          return Promise.resolve(ended);
        },
      }),
    };
  }

  /** Leaves nothing behind: a stream may live for weeks. */
  #orStopped<T>(iterator: AsyncIterator<T>, leave: () => void): Promise<IteratorResult<T>> {
    return new Promise((resolve, reject) => {
      const end = (): void => {
        reject(new StatusError("UNAVAILABLE", "SHUTTING_DOWN", "this control plane stops"));
        leave();
      };
      if (this.#stopped) {
        end();
        return;
      }
      this.#waiting.add(end);
      iterator.next().then(
        (step) => {
          this.#waiting.delete(end);
          resolve(step);
        },
        (error: unknown) => {
          this.#waiting.delete(end);
          reject(error);
        },
      );
    });
  }
}
