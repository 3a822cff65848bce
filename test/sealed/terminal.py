"""Types at a shell on a real terminal as a person does, and tells what is seen there: one line each.

    terminal.py UID COMMAND
"""
import fcntl, os, pty, select, struct, sys, termios, time

uid, command = int(sys.argv[1]), sys.argv[2]
pid, master = pty.fork()
if pid == 0:
    if os.getuid() == 0 and uid != 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    os.environ.update(PS1="", PS2="", HISTFILE="", HOME=os.getcwd())
    os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])

seen = ""


def until(*words):
    """Reads on until one of the words was printed; what was printed before it is passed over."""
    global seen
    late = time.monotonic() + 90
    while True:
        found = [(seen.find(w), w) for w in words if w in seen]
        if found:
            at, word = min(found)
            seen = seen[at + len(word):]
            return word
        if not select.select([master], [], [], max(0, late - time.monotonic()))[0]:
            sys.exit(f"waited for {words}, saw: {seen[-2000:]}")
        seen += os.read(master, 65536).decode(errors="replace")


def size(rows, columns):
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def type_in(text):
    os.write(master, text.encode())


size(33, 101)
# What is typed is shown by the terminal, too: no word that is waited for stands in it as it is.
type_in(command + "\n")
print("begins:", until("tty True True True 33 101"))
size(40, 120)
print("resized:", until("size 40 120"))
type_in("\x03")
print("ctrl-c:", until("interrupted"))
type_in("\x1a")
print("ctrl-z:", until("Stopped"))
type_in("echo status=$?\n")
print("shell:", until("status=148"))
type_in("fg\n")
type_in("one line\n")
print("fg:", until("read one line"))
type_in("\x04")
print("ctrl-d:", until("no more"))
type_in("echo status=$?\n")
print("ended:", until("status=7"))
