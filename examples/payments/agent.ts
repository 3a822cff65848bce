/**
 * An agent that knows nothing of Dragons: plain grpc-js, its proxy taken from the environment as
 * grpc-js always does (`grpc_proxy`).
 *
 *     node examples/payments/agent.ts HOST:PORT
 *
 * Reads one command a line on standard input (`list`, `get ID`, `refund ID`, `watch`) and prints one
 * JSON line for each thing that happens. A real agent would have a model where the lines come from.
 */
import { createInterface } from "node:readline";
import type { JsonObject } from "@bufbuild/protobuf";
import {
  type ClientReadableStream,
  credentials,
  makeClientConstructor,
  type ServiceError,
} from "@grpc/grpc-js";
import { Payments } from "./structs.ts";

type Callback = (error: ServiceError | null, value?: JsonObject) => void;
interface PaymentsClient {
  getPayment(request: JsonObject, done: Callback): void;
  listPayments(request: JsonObject, done: Callback): void;
  refundPayment(request: JsonObject, done: Callback): void;
  watchPayments(request: JsonObject): ClientReadableStream<JsonObject>;
  close(): void;
}

const target = process.argv[2];
if (target === undefined) {
  process.stderr.write("usage: node agent.ts HOST:PORT\n");
  process.exit(64);
}
const Client = makeClientConstructor(Payments, "payments.v1.Payments");
const client = new Client(target, credentials.createInsecure()) as unknown as PaymentsClient;

const say = (line: JsonObject): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

const refused = (did: string, error: ServiceError): void =>
  say({
    did,
    status: error.code,
    message: error.details,
    receipt: String(error.metadata?.get("dragons-receipt")[0] ?? ""),
  });

const tell =
  (did: string): Callback =>
  (error, value) => {
    if (error) refused(did, error);
    else say({ did, status: 0, value: value as JsonObject });
  };

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const [verb, id = ""] = line.trim().split(/\s+/);
    if (verb === "list") client.listPayments({}, tell(line));
    else if (verb === "get") client.getPayment({ id }, tell(line));
    else if (verb === "refund") client.refundPayment({ id }, tell(line));
    else if (verb === "watch") watch(line);
    else say({ did: line, status: -1, message: "unknown command" });
  })
  .on("close", () => {
    client.close();
    process.exit(0);
  });

function watch(did: string): void {
  const stream = client.watchPayments({});
  stream.on("data", (value: JsonObject) => say({ did, status: 0, value }));
  stream.on("error", (error: ServiceError) => refused(did, error));
  stream.on("end", () => say({ did, status: 0, ended: true }));
}
