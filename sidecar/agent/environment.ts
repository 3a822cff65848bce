import { rootCertificates } from "node:tls";
import { PIPE_HOST } from "../../src/domain/pipe-frames.ts";

/** Where the agent finds the proxy, and the authority that its certificates come from. */
export interface ProxyFacts {
  /** `127.0.0.1:7071` */
  readonly address: string;
  /** Of this launch alone; goes into the proxy address. */
  readonly credential: string;
  /** File with the sidecar's certificate authority alone, PEM. */
  readonly caFile: string;
  /** File with the public roots and the sidecar's authority, PEM: for clients that replace theirs. */
  readonly bundleFile: string;
}

/** The public roots followed by the sidecar's own authority, PEM. */
export const caBundle = (ca: string): string => [...rootCertificates, ca].join("\n");

/** Exceptions from the proxy, which there are none of. */
const EXCEPTIONS = ["no_proxy", "NO_PROXY", "no_grpc_proxy"];
/** What makes some client ask a proxy, which a sealed agent has none of. */
const PROXIES = [
  ...["http_proxy", "https_proxy", "all_proxy", "ftp_proxy", "grpc_proxy"],
  ...["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY", "NODE_USE_ENV_PROXY"],
  ...["npm_config_proxy", "npm_config_https_proxy", "npm_config_noproxy"],
];

/** The files of an authority, for every variable that some client stack reads. */
type Authority = Pick<ProxyFacts, "caFile" | "bundleFile">;

const trusting = ({ caFile, bundleFile }: Authority) => ({
  NODE_EXTRA_CA_CERTS: caFile,
  DENO_CERT: caFile,
  SSL_CERT_FILE: bundleFile,
  REQUESTS_CA_BUNDLE: bundleFile,
  CURL_CA_BUNDLE: bundleFile,
  GRPC_DEFAULT_SSL_ROOTS_FILE_PATH: bundleFile,
  AWS_CA_BUNDLE: bundleFile,
  GIT_SSL_CAINFO: bundleFile,
  PIP_CERT: bundleFile,
  npm_config_cafile: bundleFile,
});

const without = (env: NodeJS.ProcessEnv, names: readonly string[]): NodeJS.ProcessEnv =>
  Object.fromEntries(Object.entries(env).filter(([name]) => !names.includes(name)));

/**
 * The environment of an agent that reaches the world through the proxy: its own, with every variable
 * set that some client stack reads, and every exception cleared. A convenience, not a wall: what
 * ignores it goes round, which is why nothing that was not sealed is called more than advisory.
 */
export function agentEnvironment(
  own: NodeJS.ProcessEnv,
  { address, credential, ...authority }: ProxyFacts,
): NodeJS.ProcessEnv {
  const proxy = `http://agent:${credential}@${address}`;
  const ours = {
    ...trusting(authority),
    grpc_proxy: proxy,
    http_proxy: proxy,
    https_proxy: proxy,
    HTTP_PROXY: proxy,
    HTTPS_PROXY: proxy,
    NODE_USE_ENV_PROXY: "1",
    GIT_HTTP_PROXY_AUTHMETHOD: "basic",
    // npm's own settings, in its files, count for more than the variables above.
    npm_config_proxy: proxy,
    npm_config_https_proxy: proxy,
    // It passes over an empty one; under .invalid there is nobody.
    npm_config_noproxy: "nobody.invalid",
  };
  // For `dragons mcp`, whose parent may have told it nothing else: where we are, and what leads here.
  return {
    ...without(own, EXCEPTIONS),
    ...ours,
    DRAGONS_PROXY: proxy,
    DRAGONS_PROXY_ENV: Object.keys(ours).join(" "),
  };
}

/**
 * The environment of a sealed agent: its own, with no word of a proxy, since the kernel hands over what
 * it dials, and with the authority that stands in for everybody there. Our own settings may name keys;
 * `dragons mcp` alone is told where we are, by a name that leads here from anywhere in the cage.
 */
export function sealedEnvironment(
  own: NodeJS.ProcessEnv,
  authority: Authority,
): Record<string, string> {
  const ours = Object.keys(own).filter((name) => name.startsWith("DRAGONS_"));
  const kept = without(own, [...EXCEPTIONS, ...PROXIES, ...ours]);
  const DRAGONS_PROXY = `http://agent@${PIPE_HOST}:80`;
  return { ...(kept as Record<string, string>), ...trusting(authority), DRAGONS_PROXY };
}
