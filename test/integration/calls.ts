import { once } from "node:events";
import { fromBinary } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import grpc from "@grpc/grpc-js";
import { ErrorInfoSchema } from "../../src/gen/google/rpc/error_details_pb.ts";
import { StatusSchema } from "../../src/gen/google/rpc/status_pb.ts";
import { type Client, ECHO } from "../datapath/echo.ts";

const raw = (b: Buffer): Buffer => b;

/** How a call ended, as an agent sees it. */
export interface Ending {
  readonly code: number;
  readonly details: string;
  /** ErrorInfo's reason; empty: none was told. */
  readonly reason: string;
  /** Id of the receipt that a refusal names. */
  readonly receipt: string;
}

/** One unary call of any method. */
export function ask(
  client: Client,
  body: Uint8Array | string,
  { path = ECHO.unary.path, metadata = new grpc.Metadata() } = {},
): Promise<Ending> {
  return new Promise((resolve) => {
    client
      .makeUnaryRequest(path, raw, raw, Buffer.from(body), metadata, {}, () => {})
      .on("status", (status) => resolve(endingOf(status)));
  });
}

export interface Chat {
  /** Says something and resolves with what comes back. */
  say(body: Uint8Array | string): Promise<string>;
  /** How it ended, whoever ended it. */
  readonly ended: Promise<Ending>;
  close(): void;
}

/** A stream through the sidecar to the upstream and back, proven open. */
export async function openChat(client: Client, metadata = new grpc.Metadata()): Promise<Chat> {
  const stream = client.makeBidiStreamRequest(ECHO.chat.path, raw, raw, metadata, {});
  stream.on("error", () => {});
  const ended = new Promise<Ending>((resolve) => {
    stream.on("status", (status: grpc.StatusObject) => resolve(endingOf(status)));
  });
  const say = async (body: Uint8Array | string): Promise<string> => {
    stream.write(Buffer.from(body));
    const [answer] = (await once(stream, "data")) as [Buffer];
    return answer.toString();
  };
  await say("hello");
  return { say, ended, close: () => stream.cancel() };
}

/** A server stream on which nothing ever comes, proven open; a call takes it back. */
export async function openSilence(client: Client): Promise<() => void> {
  const { path } = ECHO.count;
  const stream = client.makeServerStreamRequest(path, raw, raw, Buffer.from("never"));
  stream.on("error", () => {});
  await once(stream, "metadata");
  return () => stream.cancel();
}

function endingOf({ code, details, metadata }: grpc.StatusObject): Ending {
  const [bin] = metadata.get("grpc-status-details-bin");
  const any = bin === undefined ? [] : fromBinary(StatusSchema, bin as Buffer).details;
  const reason = any.map((d) => anyUnpack(d, ErrorInfoSchema)?.reason ?? "").join("");
  return { code, details, reason, receipt: String(metadata.get("dragons-receipt")[0] ?? "") };
}
