import { healthWatchersMax } from "../domain/limits.ts";
import {
  type HealthCheckResponse_ServingStatus,
  type Health as Service,
  HealthCheckResponse_ServingStatus as Serving,
} from "../gen/grpc/health/v1/health_pb.ts";
import { Queue } from "./queue.ts";
import type { Handlers } from "./rpc.ts";
import { StatusError } from "./status.ts";

type Status = HealthCheckResponse_ServingStatus;

/** grpc.health.v1: whether the server ("") and each of its services take calls. */
export class HealthState {
  readonly #status = new Map<string, Status>();
  readonly #watchers = new Set<() => void>();

  /** All of them serve until told otherwise. */
  constructor(services: readonly string[]) {
    for (const name of ["", ...services]) this.#status.set(name, Serving.SERVING);
  }

  /** Everything at once: before the doors close, and after they opened. */
  setServing(serving: boolean): void {
    for (const name of this.#status.keys()) {
      this.#status.set(name, serving ? Serving.SERVING : Serving.NOT_SERVING);
    }
    for (const told of this.#watchers) told();
  }

  readonly handlers: Handlers<typeof Service> = {
    check: async ({ service }) => {
      const status = this.#status.get(service);
      if (status === undefined) {
        throw new StatusError("NOT_FOUND", "NO_SUCH_OBJECT", `no service ${service}`);
      }
      return { status };
    },

    watch: (request, context) => this.#watch(request.service, context.signal),
  };

  async *#watch(service: string, signal: AbortSignal) {
    if (this.#watchers.size >= healthWatchersMax) {
      throw new StatusError("RESOURCE_EXHAUSTED", "OVERLOADED", "too many health watchers");
    }
    // One is enough: whoever wakes reads the status as it is then.
    const changes = new Queue<true>(1);
    const told = () => void changes.push(true);
    signal.addEventListener("abort", () => changes.end(), { once: true });
    this.#watchers.add(told);
    try {
      let last: Status | undefined;
      told();
      for await (const _ of changes) {
        const status = this.#status.get(service) ?? Serving.SERVICE_UNKNOWN;
        if (status !== last) yield { status };
        last = status;
      }
    } finally {
      this.#watchers.delete(told);
    }
  }
}
