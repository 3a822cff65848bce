import type { DescService } from "@bufbuild/protobuf";
import { answersStream, type CallContext, type Handlers } from "../wire/rpc.ts";
import { StatusError } from "../wire/status.ts";

/**
 * The end of all streams: tethers and watches never end by themselves, and a control plane that stops
 * must not wait for them. Each is told UNAVAILABLE, so that its reader comes back to whoever is next.
 */
export class Stopping {
  readonly #streams = new Set<Stoppable<unknown>>();
  #stopped = false;

  stop(): void {
    this.#stopped = true;
    for (const stream of this.#streams) stream.stop();
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

  #upTo(answers: AsyncIterable<unknown>): AsyncIterable<unknown> {
    return {
      [Symbol.asyncIterator]: () => {
        const stream = new Stoppable(answers[Symbol.asyncIterator](), this.#streams);
        if (this.#stopped) stream.stop();
        return stream;
      },
    };
  }
}

/**
 * One stream, among all that are open until it ends. A plain object, and no generator more: there is one of
 * these for each stream of each sidecar, and it may live for weeks.
 */
class Stoppable<T> implements AsyncIterator<T> {
  readonly #iterator: AsyncIterator<T>;
  readonly #open: Set<Stoppable<T>>;
  #stopped = false;
  /** Of who waits for the next answer. */
  #reject: ((why: StatusError) => void) | null = null;

  constructor(iterator: AsyncIterator<T>, open: Set<Stoppable<T>>) {
    this.#iterator = iterator;
    this.#open = open;
    open.add(this);
  }

  next(): Promise<IteratorResult<T>> {
    return new Promise((resolve, reject) => {
      if (this.#stopped) {
        reject(stops());
        return;
      }
      this.#reject = reject;
      this.#iterator.next().then(
        (step) => {
          this.#reject = null;
          if (step.done) this.#open.delete(this);
          resolve(step);
        },
        (error: unknown) => {
          this.#open.delete(this);
          reject(error);
        },
      );
    });
  }

  return(): Promise<IteratorResult<T>> {
    this.#leave();
    return Promise.resolve({ done: true, value: undefined });
  }

  stop(): void {
    this.#stopped = true;
    this.#reject?.(stops());
    this.#leave();
  }

  /** Not awaited: it may be waiting for something that never comes. */
  #leave(): void {
    this.#open.delete(this);
    Promise.resolve(this.#iterator.return?.()).catch(() => {});
  }
}

const stops = (): StatusError =>
  new StatusError("UNAVAILABLE", "SHUTTING_DOWN", "this control plane stops");
