/**
 * The payments service: a plain gRPC server that knows nothing of Dragons.
 *
 *     node examples/payments/upstream.ts [PORT]      prints one line: {"address":"127.0.0.1:…"}
 *
 * Ends when its standard input ends.
 */

import type { JsonObject } from "@bufbuild/protobuf";
import {
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  status,
} from "@grpc/grpc-js";
import { Payments } from "./structs.ts";

const ledger = new Map<string, JsonObject>(
  [120, 75, 240].map((amount, i) => {
    const id = `pay_${i + 1}`;
    return [id, { id, amount_minor: amount * 100, currency: "EUR", state: "settled" }];
  }),
);

type Unary = ServerUnaryCall<JsonObject, JsonObject>;
type Answer = sendUnaryData<JsonObject>;

const idOf = ({ request }: Unary): string => (typeof request.id === "string" ? request.id : "");

const server = new Server();
server.addService(Payments, {
  getPayment(call: Unary, answer: Answer) {
    const id = idOf(call);
    const payment = ledger.get(id);
    if (payment) answer(null, payment);
    else answer({ code: status.NOT_FOUND, details: `no payment ${id}` });
  },
  listPayments(_call: Unary, answer: Answer) {
    answer(null, { payments: [...ledger.values()] });
  },
  watchPayments(call: ServerWritableStream<JsonObject, JsonObject>) {
    let sent = 0;
    const timer = setInterval(() => {
      call.write({ id: `pay_${(sent++ % ledger.size) + 1}`, state: "settled" });
    }, 200);
    call.on("cancelled", () => clearInterval(timer));
  },
  refundPayment(call: Unary, answer: Answer) {
    answer(null, { id: idOf(call), state: "refunded" });
  },
});

const port = Number(process.argv[2] ?? 0);
server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, bound) => {
  if (error) {
    process.stderr.write(`port ${port} cannot be listened on: ${error.message}\n`);
    process.exit(78);
  }
  process.stdout.write(`${JSON.stringify({ address: `127.0.0.1:${bound}` })}\n`);
});
process.stdin.on("end", () => server.forceShutdown()).resume();
