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
 * Lets a listening socket of both families take connections that are meant for any address, as the
 * kernel's TPROXY hands them over; the local address of each is then the one it was meant for. Takes
 * CAP_NET_ADMIN in the socket's network namespace.
 *
 * @param fd of an IPv6 socket that takes IPv4 too.
 * @throws SystemCallFailed
 */
export function makeTransparent(fd: number): void {
  must("setsockopt IP_TRANSPARENT", setsockopt(fd, SOL_IP, IP_TRANSPARENT, [1], 4));
  must("setsockopt IPV6_TRANSPARENT", setsockopt(fd, SOL_IPV6, IPV6_TRANSPARENT, [1], 4));
}
