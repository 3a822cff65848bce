import "reflect-metadata";
import {
  createPrivateKey,
  generateKeyPairSync,
  type webcrypto,
  X509Certificate,
} from "node:crypto";
import { isIP } from "node:net";
import * as x509 from "@peculiar/x509";
import { compare } from "../domain/bytes.ts";

/**
 * Certificates of our own making: the sidecar's CA that stands in for upstreams inside the agent's
 * tunnels, and the control plane's two, of its own certificate and of those of its sidecars. ECDSA
 * P-256 throughout, since every TLS stack an agent may bring verifies it; the keys that are certified
 * for sidecars are Ed25519, like everything that they sign with.
 */
x509.cryptoProvider.set(globalThis.crypto);

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

/** Clocks of agents differ from ours: certificates begin this much before they are made. */
const BACKDATE_MS = 5 * 60_000;

/** A certificate with its private key. `keyPem` is a secret: a file of mode 0600, never a log. */
export interface Issued {
  /** The certificate, PEM. */
  readonly certPem: string;
  /** PKCS #8, PEM. */
  readonly keyPem: string;
  /** SHA-256 of the certificate (DER), 32 bytes. */
  readonly fingerprint: Uint8Array;
  readonly notAfterUs: number;
}

/** Who may issue. Its private key lives in this process and in the file it was loaded from. */
export interface CertificateAuthority extends Issued {
  readonly cert: x509.X509Certificate;
  readonly key: webcrypto.CryptoKey;
}

export interface IssueOptions {
  readonly nowUs: number;
  /** How long it is good for, microseconds. A leaf never outlives its issuer. */
  readonly ttlUs: number;
}

/** A root that may sign leaves and nothing below them. */
export async function createCa(
  commonName: string,
  options: IssueOptions,
): Promise<CertificateAuthority> {
  const keys = await generateKeys();
  const cert = await x509.X509CertificateGenerator.createSelfSigned({
    name: [{ CN: [commonName] }],
    serialNumber: randomSerial(),
    ...validity(options),
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
        true,
      ),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { ...(await issued(cert, keys.privateKey)), cert, key: keys.privateKey };
}

/** Reads back what `createCa` made. Throws when the files are not a certificate and its key. */
export async function loadCa(certPem: string, keyPem: string): Promise<CertificateAuthority> {
  const cert = new x509.X509Certificate(certPem);
  const key = await globalThis.crypto.subtle.importKey(
    "pkcs8",
    x509.PemConverter.decodeFirst(keyPem),
    ALGORITHM,
    true,
    ["sign"],
  );
  return { ...(await issued(cert, key)), cert, key };
}

/** The blocks of a PEM text, in its order: certificates, or keys. */
export const pemBlocks = (text: string): string[] =>
  text.match(/-----BEGIN [A-Z ]+-----[^-]*-----END [A-Z ]+-----\n?/g) ?? [];

/** Whether a certificate is of this private key, both PEM. Throws when one is neither. */
export const isKeyOf = (certPem: string, keyPem: string): boolean =>
  new X509Certificate(certPem).checkPrivateKey(createPrivateKey(keyPem));

export const certificateDer = ({ certPem }: Pick<Issued, "certPem">): Uint8Array =>
  new Uint8Array(new X509Certificate(certPem).raw);

/** PEM of a certificate, or of something that says it is one. */
export const certificatePem = (der: Uint8Array): string =>
  `${x509.PemConverter.encode(copy(der), "CERTIFICATE")}\n`;

/**
 * The certificates in a PEM text, DER, ascending and unique: as a keyset names them. Throws when there
 * is none, or one that is no authority's.
 */
export function authoritiesIn(text: string): Uint8Array[] {
  const all = pemBlocks(text).map((pem) => new X509Certificate(pem));
  if (all.length === 0) throw new Error("holds no certificate in PEM");
  if (!all.every((c) => c.ca)) throw new Error("holds a certificate that is no authority's");
  const sorted = all.map((c) => new Uint8Array(c.raw)).sort(compare);
  return sorted.filter((der, i) => i === 0 || compare(sorted[i - 1] as Uint8Array, der) !== 0);
}

/** A TLS server's certificate for these host names and addresses (the first is its common name). */
export async function issueServer(
  ca: CertificateAuthority,
  hosts: readonly string[],
  options: IssueOptions,
): Promise<Issued> {
  const keys = await generateKeys();
  const subject = { commonName: hosts[0] as string, hosts, uris: [], usages: ["server"] as const };
  return issued(await sign(ca, subject, keys.publicKey, options), keys.privateKey);
}

export interface LeafSubject {
  readonly commonName: string;
  /** DNS names and IP addresses. */
  readonly hosts: readonly string[];
  /** Names of holders that are not hosts, such as an instance. */
  readonly uris: readonly string[];
  readonly usages: readonly ("server" | "client")[];
}

/**
 * A certificate for a key that somebody else holds.
 *
 * @param publicKey SubjectPublicKeyInfo, DER or PEM, of any kind of key.
 */
export async function issueLeaf(
  ca: CertificateAuthority,
  subject: LeafSubject,
  publicKey: Uint8Array | string,
  options: IssueOptions,
): Promise<Omit<Issued, "keyPem">> {
  const key = new x509.PublicKey(typeof publicKey === "string" ? publicKey : copy(publicKey));
  return certificate(await sign(ca, subject, key, options));
}

/** The SubjectPublicKeyInfo of a raw Ed25519 public key: RFC 8410. */
export const ed25519Spki = (key: Uint8Array): Uint8Array =>
  new Uint8Array(Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), key]));

/** A key pair for TLS of one's own, which somebody else certifies. `keyPem` is a secret. */
export function generateTlsKey(): { publicKey: Uint8Array; keyPem: string } {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  return {
    publicKey: new Uint8Array(publicKey.export({ type: "spki", format: "der" }).subarray(-32)),
    keyPem: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  };
}

/** What a certificate says, once it is known who says it. */
export interface ReadLeaf {
  /** Alternative names that are URIs. */
  readonly uris: readonly string[];
  readonly notBeforeUs: number;
  readonly notAfterUs: number;
}

/**
 * Reads a client's certificate (DER), or null when this authority did not issue it, it is for
 * something else, or `nowUs` lies outside of its time. Whoever shows it must have proven the key.
 */
export function readClientLeaf(
  ca: X509Certificate,
  der: Uint8Array,
  nowUs: number,
): ReadLeaf | null {
  const leaf = new X509Certificate(der);
  const begins = leaf.validFromDate.getTime() * 1000;
  const ends = leaf.validToDate.getTime() * 1000;
  const issued = leaf.checkIssued(ca) && leaf.verify(ca.publicKey);
  if (!issued || leaf.ca || !leaf.keyUsage?.includes(CLIENT_AUTH)) return null;
  if (nowUs < begins || nowUs >= ends) return null;
  const names = (leaf.subjectAltName ?? "").split(", ");
  const uris = names.flatMap((n) => (n.startsWith("URI:") ? [n.slice(4)] : []));
  return { uris, notBeforeUs: begins, notAfterUs: ends };
}

/** RFC 5280, id-kp-clientAuth. */
const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";

function sign(
  ca: CertificateAuthority,
  subject: LeafSubject,
  publicKey: x509.PublicKeyType,
  options: IssueOptions,
): Promise<x509.X509Certificate> {
  const { notBefore, notAfter } = validity(options);
  const names = [
    ...subject.hosts.map(hostName),
    ...subject.uris.map((value): x509.JsonGeneralName => ({ type: "url", value })),
  ];
  return x509.X509CertificateGenerator.create({
    // A common name holds 64 characters; those who verify read the alternative names.
    subject: [{ CN: [subject.commonName.slice(0, 64)] }],
    issuer: ca.cert.subject,
    serialNumber: randomSerial(),
    notBefore,
    notAfter: notAfter < ca.cert.notAfter ? notAfter : ca.cert.notAfter,
    publicKey,
    signingKey: ca.key,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.AuthorityKeyIdentifierExtension(
        ca.cert.getExtension(x509.SubjectKeyIdentifierExtension)?.keyId ?? "",
      ),
      new x509.ExtendedKeyUsageExtension(subject.usages.map((u) => USAGES[u])),
      new x509.SubjectAlternativeNameExtension(names),
    ],
  });
}

const USAGES = {
  server: x509.ExtendedKeyUsage.serverAuth,
  client: x509.ExtendedKeyUsage.clientAuth,
};

const hostName = (host: string): x509.JsonGeneralName =>
  isIP(host) === 0 ? { type: "dns", value: host } : { type: "ip", value: host };

const validity = ({ nowUs, ttlUs }: IssueOptions): { notBefore: Date; notAfter: Date } => ({
  notBefore: new Date(nowUs / 1000 - BACKDATE_MS),
  notAfter: new Date((nowUs + ttlUs) / 1000),
});

const generateKeys = (): Promise<webcrypto.CryptoKeyPair> =>
  globalThis.crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);

/** 127 random bits with the top bit clear: positive, and of one length. */
function randomSerial(): string {
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16));
  bytes[0] = ((bytes[0] as number) & 0x7f) | 0x40;
  return Buffer.from(bytes).toString("hex");
}

async function issued(cert: x509.X509Certificate, key: webcrypto.CryptoKey): Promise<Issued> {
  const pkcs8 = await globalThis.crypto.subtle.exportKey("pkcs8", key);
  return { ...(await certificate(cert)), keyPem: x509.PemConverter.encode(pkcs8, "PRIVATE KEY") };
}

async function certificate(cert: x509.X509Certificate): Promise<Omit<Issued, "keyPem">> {
  return {
    certPem: cert.toString("pem"),
    fingerprint: new Uint8Array(await cert.getThumbprint("SHA-256")),
    notAfterUs: cert.notAfter.getTime() * 1000,
  };
}

/** The library reads views from their buffer's start. */
const copy = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => new Uint8Array(bytes);
