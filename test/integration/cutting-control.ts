import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { DescService } from "@bufbuild/protobuf";
import grpc from "@grpc/grpc-js";
import { ReceiptHeader } from "../../src/domain/receipt.ts";
import { LedgerService, WatchReceiptsEvent } from "../../src/gen/dragons/v1/ledger_pb.ts";
import { OrganismService, WatchEvent } from "../../src/gen/dragons/v1/organism_pb.ts";
import { ServerReflection } from "../../src/gen/grpc/reflection/v1/reflection_pb.ts";
import { systemClock } from "../../src/native/clock.ts";
import { createCa, issueServer } from "../../src/native/pki.ts";
import { openServer, serve } from "../../src/wire/grpc.ts";
import { reflection } from "../../src/wire/reflection.ts";
import type { CallContext, Handlers } from "../../src/wire/rpc.ts";
import { StatusError } from "../../src/wire/status.ts";

const LONG_US = 3_600_000_000;
const LIMITS = {
  messageBytesMax: 1024 * 1024,
  streamsPerConnectionMax: 10,
  sessionMemoryMb: 10,
  idleUs: LONG_US,
  ageUs: LONG_US,
  ageGraceUs: LONG_US,
  keepaliveUs: LONG_US,
  keepaliveTimeoutUs: LONG_US,
};

/** What one watch tells: messages of these numbers, whose tokens say the same. Then it ends, or stays. */
export interface Watched {
  readonly tells: readonly number[];
  readonly end?: StatusError;
}

/**
 * What those who watch see of a control plane, one watch after the other, where each ends as the test wants.
 * The real one ends them like that for who reads too slowly for long, and when its store was set back.
 */
export async function cuttingControl(folder: string, watches: readonly Watched[]) {
  /** Tokens that it was asked with, in order. */
  const asked: string[] = [];
  async function* watch(resumeToken: string, { signal }: CallContext): AsyncGenerator<number> {
    const { tells, end } = watches[asked.push(resumeToken) - 1] as Watched;
    yield* tells;
    if (end !== undefined) throw end;
    await once(signal, "abort");
  }
  const server = openServer({
    transport: null,
    limits: LIMITS,
    onFault: (error) => {
      throw error;
    },
  });
  serve(server, OrganismService, {
    ...nothingOf(OrganismService),
    async *watch(request, context) {
      for await (const n of watch(request.resumeToken, context)) {
        const resumeToken = `${n}`;
        yield { event: WatchEvent.ORGANISM, revision: BigInt(n), resumeToken, organism: {} };
      }
    },
  });
  serve(server, LedgerService, {
    ...nothingOf(LedgerService),
    async *watchReceipts(request, context) {
      for await (const seq of watch(request.resumeToken, context)) {
        const receipt = { body: ReceiptHeader.encode({ ...ReceiptHeader.empty(), seq }) };
        yield { event: WatchReceiptsEvent.RECEIPT, receipt, resumeToken: `${seq}` };
      }
    },
  });
  serve(server, ServerReflection, reflection([OrganismService, LedgerService]));
  const lifetime = { nowUs: systemClock.nowUs(), ttlUs: LONG_US };
  const ca = await createCa("a control plane that cuts", lifetime);
  const { certPem, keyPem } = await issueServer(ca, ["localhost"], lifetime);
  const pair = { cert_chain: Buffer.from(certPem), private_key: Buffer.from(keyPem) };
  const tls = grpc.ServerCredentials.createSsl(null, [pair]);
  const port = await new Promise<number>((resolve, reject) => {
    server.grpc.bindAsync("127.0.0.1:0", tls, (e, p) => (e === null ? resolve(p) : reject(e)));
  });
  const controlCa = join(folder, "cutting.ca.pem");
  await writeFile(controlCa, ca.certPem);
  return { asked, control: `localhost:${port}`, controlCa, close: () => server.close(0) };
}

/** Each of its methods, and none is there. */
function nothingOf<S extends DescService>({ methods }: S): Handlers<S> {
  const absent = async (): Promise<never> => {
    throw new StatusError("UNIMPLEMENTED", "", "it lets watch, and nothing else");
  };
  return Object.fromEntries(methods.map((m) => [m.localName, absent])) as unknown as Handlers<S>;
}
