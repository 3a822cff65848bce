"""Section 11, `when`: what a rule's condition says of a claim. TRUE, FALSE or UNEVALUABLE."""

import re

IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_]*"
INT = re.compile(r"0|-?[1-9][0-9]*")
RESERVED = ("true", "false", "null", "in")
TOKEN = re.compile(
    r' *(?:(?P<text>"(?:[^"\\]|\\["\\nrt])*")|(?P<int>-?[0-9]+)|(?P<word>' + IDENTIFIER + r")"
    r"|(?P<op>&&|\|\||==|!=|<=|>=|[<>!()\[\],.]))"
)
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}


class Malformed(Exception):
    pass


def utf16(text):
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


class Parser:
    """The tree: ("and"|"or", [..]), ("not", x), ("test", name, type, op, operand)."""

    def __init__(self, source):
        if utf16(source) > 1024 or "\n" in source or "\r" in source:
            raise Malformed("too long, or not one line")
        self.tokens, at = [], 0
        source = source.rstrip(" ")
        while at < len(source):
            m = TOKEN.match(source, at)
            if m is None:
                raise Malformed(f"at {at}")
            at = m.end()
            self.tokens.append((m.lastgroup, m.group(m.lastgroup)))
        self.at = self.tests = self.depth = 0
        self.types = {}

    def whole(self):
        tree = self.when()
        if self.at != len(self.tokens):
            raise Malformed("something stands after the end")
        return tree

    def peek(self, *ops):
        kind, text = self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")
        return text if (kind == "op" or text == "in" and kind == "word") and text in ops else None

    def take(self, *ops):
        found = self.peek(*ops)
        self.at += found is not None
        return found

    def need(self, *ops):
        found = self.take(*ops)
        if found is None:
            raise Malformed(f"wanted {ops}")
        return found

    def next(self, *kinds):
        if self.at == len(self.tokens) or self.tokens[self.at][0] not in kinds:
            raise Malformed(f"wanted {kinds}")
        self.at += 1
        return self.tokens[self.at - 1]

    def when(self):
        parts = [self.conjunction()]
        while self.take("||"):
            parts.append(self.conjunction())
        return ("or", parts)

    def conjunction(self):
        parts = [self.negation()]
        while self.take("&&"):
            parts.append(self.negation())
        return ("and", parts)

    def negation(self):
        if self.take("!"):
            self.deeper()
            inner = self.negation()
            self.depth -= 1
            if inner[0] == "test" and not inner[5]:
                raise Malformed("what follows ! is a bare comparison")
            return ("not", inner)
        if self.take("("):
            self.deeper()
            inner = self.when()
            self.depth -= 1
            self.need(")")
            return inner
        return self.test()

    def deeper(self):
        self.depth += 1
        if self.depth > 8:
            raise Malformed("too deep")

    def test(self):
        self.tests += 1
        if self.tests > 16:
            raise Malformed("too many tests")
        literal = self.literal()
        if literal is not None:
            op = self.need("==", "!=", "<", "<=", ">", ">=")
            name, _ = self.name()
            turned = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(op, op)
            return self.made(name, turned, literal, False)
        name, starts = self.name()
        if starts:
            self.need("(")
            literal = self.literal()
            self.need(")")
            if literal is None or literal[0] != "STRING":
                raise Malformed("startsWith takes text")
            return self.made(name, "startsWith", literal, True)
        if self.take("in"):
            return self.made(name, "in", self.listed(), False)
        op = self.take("==", "!=", "<", "<=", ">", ">=")
        if op is None:
            return self.made(name, "==", ("BOOL", True), True)
        literal = self.literal()
        if literal is None:
            raise Malformed("a comparison takes a literal")
        return self.made(name, op, literal, False)

    def made(self, name, op, operand, tight):
        kind, value = operand
        if kind == "BOOL" and op in ("<", "<=", ">", ">="):
            raise Malformed("true and false have no order")
        if self.types.setdefault(name, kind) != kind:
            raise Malformed(f"{name} is compared as two types")
        return ("test", name, kind, op, value, tight)

    def listed(self):
        self.need("[")
        values = [self.literal()]
        while self.take(","):
            values.append(self.literal())
        self.need("]")
        if None in values or len(values) > 32 or len(set(values)) < len(values):
            raise Malformed("a list has 1 to 32 literals, none twice")
        if len({kind for kind, _ in values}) > 1:
            raise Malformed("a list has one type")
        return (values[0][0], [value for _, value in values])

    def literal(self):
        kind, text = self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")
        if kind == "int":
            if not INT.fullmatch(text) or not -(2**63) <= int(text) < 2**63:
                raise Malformed(f"{text} is no number")
            made = ("INT", int(text))
        elif kind == "text":
            made = ("STRING", unescape(text))
        elif kind == "word" and text in ("true", "false"):
            made = ("BOOL", text == "true")
        else:
            return None
        self.at += 1
        return made

    def name(self):
        """The name in its one spelling, and whether `.startsWith` follows it."""
        _, root = self.next("word")
        if root == "path":
            self.need("[")
            _, index = self.next("int")
            self.need("]")
            if not re.fullmatch(r"0|[1-9][0-9]?", index):
                raise Malformed("path is counted from 0 to 99")
            return (f"path[{index}]", self.starts())
        most = {"query": 1, "header": 1, "json": 8, "args": 8}.get(root)
        if most is None:
            raise Malformed(f"nothing is called {root}")
        spelled, count = root, 0
        while self.peek(".", "[") and not (count and self.starts(take=False)):
            spelled, count = spelled + self.key(), count + 1
        if not 1 <= count <= most:
            raise Malformed("too few or too many keys")
        return (spelled, self.starts(take=True))

    def starts(self, take=True):
        ahead = self.tokens[self.at : self.at + 3]
        found = ahead == [("op", "."), ("word", "startsWith"), ("op", "(")]
        self.at += 2 if found and take else 0
        return found

    def key(self):
        if self.take("."):
            _, word = self.next("word")
            if word in RESERVED:
                raise Malformed(f"{word} is no name")
            return "." + word
        self.need("[")
        _, text = self.next("text")
        self.need("]")
        plain = unescape(text)
        if not plain or re.fullmatch(IDENTIFIER, plain) and plain not in RESERVED:
            raise Malformed("brackets stand only where a dot cannot")
        return f"[{text}]"


def unescape(text):
    return re.sub(r"\\(.)", lambda m: ESCAPES[m.group(1)], text[1:-1])


def parse(source):
    return Parser(source).whole()


def names(source):
    """What a condition reads, and as which type."""
    parser = Parser(source)
    parser.whole()
    return parser.types


def evaluate(tree, path, inputs):
    """`inputs` maps names to (type, value)."""
    segments = path.split("/")[1:]

    def read(name, kind):
        if name.startswith("path["):
            index = int(name[5:-1])
            found = ("STRING", segments[index]) if index < len(segments) else None
        else:
            found = inputs.get(name)
        if found is None or found[0] == "UNREADABLE":
            return None
        is_text = name.startswith(("path[", "query", "header"))
        if found[0] != ("STRING" if is_text else kind):
            return None
        return spelled(kind, found[1])

    def all_tests(node):
        if node[0] == "test":
            yield node
        else:
            for part in node[1] if node[0] in ("and", "or") else [node[1]]:
                yield from all_tests(part)

    values = {name: read(name, kind) for _, name, kind, *_ in all_tests(tree)}
    if any(value is None for value in values.values()):
        return "UNEVALUABLE"

    def holds(node):
        if node[0] == "test":
            return compare(values[node[1]], node[3], node[4])
        if node[0] == "not":
            return not holds(node[1])
        return (all if node[0] == "and" else any)(holds(part) for part in node[1])

    return "TRUE" if holds(tree) else "FALSE"


def spelled(kind, text):
    """The value that this text spells, or None."""
    if kind == "STRING":
        return text
    if kind == "BOOL":
        return {"true": True, "false": False}.get(text)
    good = INT.fullmatch(text) and len(text) <= 20 and -(2**63) <= int(text) < 2**63
    return int(text) if good else None


def compare(a, op, b):
    if op == "in":
        return a in b
    if op == "startsWith":
        return a.startswith(b)
    return {"==": a == b, "!=": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[op]
