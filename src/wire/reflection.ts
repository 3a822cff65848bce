import { type DescFile, type DescMessage, type DescService, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import {
  ServerReflection,
  type ServerReflectionRequest,
} from "../gen/grpc/reflection/v1/reflection_pb.ts";
import type { Handlers } from "./rpc.ts";
import { STATUS_CODES } from "./status.ts";

/**
 * grpc.reflection.v1 from the descriptors that the services were generated with, so that any gRPC
 * client finds its way without our files: services, messages, and the options that say where numbers
 * come from.
 */
export function reflection(services: readonly DescService[]): Handlers<typeof ServerReflection> {
  const all = [...services, ServerReflection];
  const files = new Map<string, DescFile>();
  const symbols = new Map<string, DescFile>();
  for (const service of all) index(service.file, files, symbols);

  const answer = (request: ServerReflectionRequest) => {
    const { messageRequest: asked } = request;
    switch (asked.case) {
      case "listServices": {
        const service = all.map((s) => ({ name: s.typeName }));
        return { case: "listServicesResponse", value: { service } } as const;
      }
      case "fileByFilename":
        return fileAnswer(files.get(asked.value));
      case "fileContainingSymbol":
        return fileAnswer(symbols.get(asked.value));
      case "fileContainingExtension": {
        const { containingType, extensionNumber } = asked.value;
        const declares = ({ extensions }: DescFile) =>
          extensions.some(
            (e) => e.extendee.typeName === containingType && e.number === extensionNumber,
          );
        return fileAnswer([...files.values()].find(declares));
      }
      case "allExtensionNumbersOfType": {
        const extensionNumber = [...files.values()]
          .flatMap((f) => f.extensions)
          .filter((e) => e.extendee.typeName === asked.value)
          .map((e) => e.number);
        const value = { baseTypeName: asked.value, extensionNumber };
        return { case: "allExtensionNumbersResponse", value } as const;
      }
      default:
        return fileAnswer(undefined);
    }
  };

  return {
    async *serverReflectionInfo(requests) {
      for await (const request of requests) {
        yield {
          validHost: request.host,
          originalRequest: request,
          messageResponse: answer(request),
        };
      }
    },
  };
}

function index(file: DescFile, files: Map<string, DescFile>, symbols: Map<string, DescFile>): void {
  if (files.has(file.proto.name)) return;
  files.set(file.proto.name, file);
  for (const d of file.dependencies) index(d, files, symbols);
  const add = (message: DescMessage): void => {
    symbols.set(message.typeName, file);
    for (const e of message.nestedEnums) symbols.set(e.typeName, file);
    for (const m of message.nestedMessages) add(m);
  };
  for (const m of file.messages) add(m);
  for (const e of file.extensions) symbols.set(e.typeName, file);
  for (const e of file.enums) symbols.set(e.typeName, file);
  for (const s of file.services) {
    symbols.set(s.typeName, file);
    for (const m of s.methods) symbols.set(`${s.typeName}.${m.name}`, file);
  }
}

/** The file with everything that it imports, itself first. */
function fileAnswer(file: DescFile | undefined) {
  if (file === undefined) {
    const value = { errorCode: STATUS_CODES.indexOf("NOT_FOUND"), errorMessage: "not found" };
    return { case: "errorResponse", value } as const;
  }
  const closure = new Set<DescFile>();
  const walk = (f: DescFile): void => {
    if (closure.has(f)) return;
    closure.add(f);
    f.dependencies.forEach(walk);
  };
  walk(file);
  const fileDescriptorProto = [...closure].map((f) => toBinary(FileDescriptorProtoSchema, f.proto));
  return { case: "fileDescriptorResponse", value: { fileDescriptorProto } } as const;
}
