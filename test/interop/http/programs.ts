import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { Issued } from "../../../src/native/pki.ts";

/** The servers of real programs: git's, a registry for npm, an index for pip. */

/** Answers a request; `base` is how its client named this server. */
export type Handle = (request: IncomingMessage, response: ServerResponse, base: string) => void;
export interface Served {
  readonly http: number;
  readonly https: number;
  close(): void;
}

/** The same over HTTP and HTTPS. */
export async function serve({ certPem, keyPem }: Issued, handle: () => Handle): Promise<Served> {
  const servers = [createServer(), createSecureServer({ cert: certPem, key: keyPem })] as const;
  const ports: number[] = [];
  for (const [i, server] of servers.entries()) {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    ports.push(port);
    const scheme = i === 0 ? "http" : "https";
    server.on("request", (request: IncomingMessage, response: ServerResponse) =>
      handle()(request, response, `${scheme}://${request.headers.host}`),
    );
  }
  const [http, https] = ports as [number, number];
  return {
    http,
    https,
    close() {
      for (const server of servers) {
        server.closeAllConnections();
        server.close();
      }
    },
  };
}

/** git's own server, by CGI. */
export const gitBackend =
  (root: string): Handle =>
  (request, response) => {
    const [path, query] = (request.url ?? "").split("?") as [string, string?];
    const child = spawn("git", ["http-backend"], {
      env: {
        ...process.env,
        GIT_PROJECT_ROOT: root,
        GIT_HTTP_EXPORT_ALL: "1",
        REMOTE_USER: "agent",
        PATH_INFO: path,
        QUERY_STRING: query ?? "",
        REQUEST_METHOD: request.method,
        CONTENT_TYPE: request.headers["content-type"] ?? "",
        HTTP_CONTENT_ENCODING: request.headers["content-encoding"] ?? "",
        ...(request.headers["content-length"] === undefined
          ? {}
          : { CONTENT_LENGTH: request.headers["content-length"] }),
      },
    });
    request.pipe(child.stdin);
    child.stdin.on("error", () => {});
    let head = "";
    child.stdout.on("data", (chunk: Buffer) => {
      if (response.headersSent) {
        response.write(chunk);
        return;
      }
      head += chunk.toString("latin1");
      const end = head.indexOf("\r\n\r\n");
      if (end < 0) return;
      const fields = head
        .slice(0, end)
        .split("\r\n")
        .map((l) => l.split(": ") as [string, string]);
      const status = Number(fields.find(([name]) => name === "Status")?.[1].slice(0, 3) ?? 200);
      response.writeHead(status, fields.filter(([name]) => name !== "Status").flat());
      response.write(Buffer.from(head.slice(end + 4), "latin1"));
    });
    child.on("close", () => response.end());
  };

/** A registry of two packages, one of them scoped, so that its name has an escaped slash. */
export function npmRegistry(tarball: Buffer): Handle {
  const integrity = `sha512-${createHash("sha512").update(tarball).digest("base64")}`;
  return (request, response, base) => {
    const path = decodeURIComponent(request.url ?? "");
    if (path.endsWith(".tgz")) {
      response.end(tarball);
      return;
    }
    const name = path.slice(1);
    const dependencies = name === "plain" ? { "@scoped/inner": "1.0.0" } : {};
    const dist = { tarball: `${base}/${name}/-/package-1.0.0.tgz`, integrity };
    const version = { name, version: "1.0.0", dependencies, dist };
    response.setHeader("Content-Type", "application/json");
    response.end(
      JSON.stringify({ name, "dist-tags": { latest: "1.0.0" }, versions: { "1.0.0": version } }),
    );
  };
}

/** A package index (PEP 503) of one wheel. */
export const pipIndex =
  (wheel: Buffer): Handle =>
  (request, response) => {
    const sum = createHash("sha256").update(wheel).digest("hex");
    const file = "plain-1.0-py3-none-any.whl";
    if (request.url?.endsWith(file)) response.end(wheel);
    else {
      response.setHeader("Content-Type", "text/html");
      response.end(`<!DOCTYPE html><a href="../../${file}#sha256=${sum}">${file}</a>`);
    }
  };
