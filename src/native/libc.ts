import koffi from "koffi";

/**
 * What Node has no words for, asked of the C library directly. Linux alone has the calls behind it. Every
 * call is made on the calling thread, as capabilities, filters and namespaces of a thread demand.
 */
const library = koffi.load(null);
const setsockopt = library.func(
  "int setsockopt(int, int, int, const int32_t *value, uint32_t length)",
);

// From <netinet/in.h> and <linux/in6.h>.
const SOL_IP = 0;
const IP_TRANSPARENT = 19;
const SOL_IPV6 = 41;
const IPV6_TRANSPARENT = 75;

/** A call that the kernel refused: which one, and the error's number. */
class SystemCallFailed extends Error {
  override readonly name = "SystemCallFailed";
  readonly errno: number;

  constructor(call: string, errno: number) {
    super(`${call}: ${errorName(errno)}`);
    this.errno = errno;
  }
}

const errorName = (errno: number): string =>
  Object.entries(koffi.os.errno).find(([, number]) => number === errno)?.[0] ?? `errno ${errno}`;

/** @throws SystemCallFailed where a call answered something else than 0 or more. */
function must(call: string, answer: number): number {
  if (answer < 0) throw new SystemCallFailed(call, koffi.errno());
  return answer;
}

/**
 * Lets a listening socket take connections that are meant for any address, as the kernel's TPROXY
 * hands them over; the local address of each is then the one it was meant for. Takes CAP_NET_ADMIN in
 * the socket's network namespace.
 *
 * @param ipv6 it is an IPv6 socket, that takes IPv4 too.
 * @throws SystemCallFailed
 */
export function makeTransparent(fd: number, ipv6: boolean): void {
  must("setsockopt IP_TRANSPARENT", setsockopt(fd, SOL_IP, IP_TRANSPARENT, [1], 4));
  if (!ipv6) return;
  must("setsockopt IPV6_TRANSPARENT", setsockopt(fd, SOL_IPV6, IPV6_TRANSPARENT, [1], 4));
}

const prctl = library.func(
  "int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)",
);
koffi.struct("sock_fprog", { len: "uint16_t", filter: "const uint8_t *" });
const prctlFilter = library.func("prctl", "int", [
  "int",
  "unsigned long",
  "const sock_fprog *",
  "unsigned long",
  "unsigned long",
]);
const capset = library.func("int capset(const uint32_t *header, const uint32_t *data)");
const mount = library.func(
  "int mount(const char *, const char *, const char *, unsigned long, const void *)",
);
const umount2 = library.func("int umount2(const char *, int)");
const dup2 = library.func("int dup2(int, int)");
const fcntl = library.func("int fcntl(int, int, int)");
const closeRange = library.func("syscall", "long", ["long", "uint32_t", "uint32_t", "uint32_t"]);
const signal = library.func("intptr_t signal(int, intptr_t)");
const execve = library.func("int execve(const char *, const char **, const char **)");

// From <linux/prctl.h>, <linux/capability.h>, <sys/mount.h>, <linux/close_range.h>, <signal.h>.
const PR_SET_SECCOMP = 22;
const PR_CAPBSET_DROP = 24;
const PR_SET_NO_NEW_PRIVS = 38;
const PR_CAP_AMBIENT = 47;
const PR_CAP_AMBIENT_CLEAR_ALL = 4;
const SECCOMP_MODE_FILTER = 2;
const CAPABILITY_VERSION_3 = 0x2008_0522;
const CAPABILITIES = 64;
const EPERM = 1;
const EINVAL = 22;
const MS_RDONLY = 1;
const MS_NOSUID = 2;
const MS_NODEV = 4;
const MS_NOEXEC = 8;
const MS_REMOUNT = 32;
const MS_BIND = 4096;
const MNT_DETACH = 2;
const SYS_CLOSE_RANGE = 436;
const CLOSE_RANGE_CLOEXEC = 4;
const F_SETFD = 2;
const F_DUPFD_CLOEXEC = 1030;
const SIGPIPE = 13;
const SIGXFSZ = 25;
const SIG_DFL = 0;

/** Shows at `to` the file at `from`, as writable as its own mount is. Takes CAP_SYS_ADMIN. @throws SystemCallFailed */
export function bindMount(from: string, to: string): void {
  must(`mount ${to}`, mount(from, to, null, MS_BIND, null));
}

/**
 * Lets nobody write to a file or folder of the kernel's, whoever owns it. Takes CAP_SYS_ADMIN.
 *
 * @throws SystemCallFailed
 */
export function makeReadOnly(path: string): void {
  bindMount(path, path);
  const flags = MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
  must(`remount ${path}`, mount(path, path, null, flags, null));
}

/** Takes a mount out of sight. What was bound from it stays. @throws SystemCallFailed */
export function unmount(path: string): void {
  must(`umount ${path}`, umount2(path, MNT_DETACH));
}

/** Makes descriptor `to` another name of `from`. @throws SystemCallFailed */
export function duplicate(from: number, to: number): void {
  must("dup2", dup2(from, to));
}

/**
 * A further descriptor of the same file, closed by an exec.
 *
 * @throws SystemCallFailed
 */
export const anotherName = (fd: number): number =>
  must("fcntl F_DUPFD_CLOEXEC", fcntl(fd, F_DUPFD_CLOEXEC, 3));

/**
 * Gives up every capability of the calling thread and of whatever it executes, for good.
 *
 * @throws SystemCallFailed
 */
export function dropCapabilities(): void {
  for (let capability = 0; capability < CAPABILITIES; capability++) {
    const answer = prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
    // Beyond the last that this kernel knows; or nothing is held, and so nothing can be gained.
    if (answer < 0 && [EINVAL, EPERM].includes(koffi.errno())) break;
    must("prctl PR_CAPBSET_DROP", answer);
  }
  must("prctl PR_CAP_AMBIENT", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
  must("capset", capset([CAPABILITY_VERSION_3, 0], [0, 0, 0, 0, 0, 0]));
  must("prctl PR_SET_NO_NEW_PRIVS", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

/**
 * Filters the system calls of the calling thread, and of whatever it executes. Takes no_new_privs.
 *
 * @param program an array of `struct sock_filter`, eight bytes each.
 * @throws SystemCallFailed
 */
export function filterSystemCalls(program: Uint8Array): void {
  const filter = { len: program.length / 8, filter: program };
  must("seccomp", prctlFilter(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter, 0, 0));
}

/**
 * Becomes another program, with the signal dispositions that every program expects, where Node has its
 * own.
 *
 * @param descriptors how many, from 0 on, it is to have; all others are closed.
 * @returns the error's name, such as ENOENT; on success there is nobody to return to.
 */
export function execute(
  file: string,
  argv: readonly string[],
  env: readonly string[],
  descriptors = 3,
): string {
  const all = closeRange(SYS_CLOSE_RANGE, descriptors, 0xffff_ffff, CLOSE_RANGE_CLOEXEC);
  must("close_range", all);
  // Node would have these closed, too.
  for (let fd = 0; fd < descriptors; fd++) must("fcntl F_SETFD", fcntl(fd, F_SETFD, 0));
  signal(SIGPIPE, SIG_DFL);
  signal(SIGXFSZ, SIG_DFL);
  execve(file, [...argv, null], [...env, null]);
  return errorName(koffi.errno());
}

const madvise = library.func("int madvise(uintptr_t, size_t, int)");
/** From <sys/mman.h>. */
const MADV_DONTNEED = 4;

/** Lets go of what is mapped from one address to another. @throws SystemCallFailed */
export function forgetPages(from: bigint, to: bigint): void {
  must("madvise", madvise(from, to - from, MADV_DONTNEED));
}

const anyCall = library.func("syscall", "long", ["long", "long", "long", "long", "long", "long"]);

/** What a system call is refused with, by the error's name, such as EPERM; null: it is not refused. */
export function errorOf(number: number, ...given: number[]): string | null {
  const [a = 0, b = 0, c = 0, d = 0, e = 0] = given;
  return anyCall(number, a, b, c, d, e) < 0 ? errorName(koffi.errno()) : null;
}
