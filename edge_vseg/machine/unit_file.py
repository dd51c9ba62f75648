"""Write systemd's unit files and environment files: quoting by its rules.

Rules: "Quoting" in systemd.syntax(7), "Specifiers" in systemd.unit(5), "Command lines" in systemd.service(5), and
``EnvironmentFile`` in systemd.exec(5).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from edge_vseg.errors import OptionError

Setting = tuple[str, str]
_PLAIN = re.compile(r"[A-Za-z0-9_./:=@,+-]+")
_ESCAPED = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def escape_specifiers(text: str) -> str:
    """A value in which ``%`` is a percent sign."""
    return text.replace("%", "%%")


def quote_word(word: str) -> str:
    """One word of a command line or list, as systemd reads it back.

    Raises:
        OptionError: If it holds a NUL, which no command line can.
    """
    if "\0" in word:
        raise OptionError(f"{word!r} holds a NUL character, which a command line cannot; leave it out")
    if _PLAIN.fullmatch(word):
        return word
    escaped = "".join(_ESCAPED.get(c, f"\\x{ord(c):02x}" if ord(c) < 32 or ord(c) == 127 else c) for c in word)
    return f'"{escape_specifiers(escaped)}"'


def command_line(words: Sequence[str]) -> str:
    """A command for ``ExecStart``. Its colon (systemd 244) leaves ``$`` alone, in the program's path, too.

    Raises:
        OptionError: If the program is not an absolute path, or a word holds a NUL.
    """
    if not words[0].startswith("/"):
        raise OptionError(f"a service needs the absolute path of its program, got {words[0]!r}")
    return ":" + " ".join(quote_word(word) for word in words)


def environment_file(variables: Mapping[str, str]) -> str:
    """An environment file; its values know neither specifiers nor variables.

    Raises:
        OptionError: If a value has more than one line, or a NUL.
    """
    lines = []
    for name, value in variables.items():
        if re.search(r"[\0\r\n]", value):
            raise OptionError(f"the value of {name} must be one line without NUL characters")
        escaped = re.sub(r'(["\\`$])', r"\\\1", value)
        lines.append(f'{name}="{escaped}"\n')
    return "".join(lines)


def unit_text(header: str, sections: Mapping[str, Sequence[Setting]]) -> str:
    """The text of a unit file: a comment, and sections of ``Name=value`` lines.

    Raises:
        OptionError: If a value has more than one line: the second would be a setting of its own.
    """
    blocks = [f"# {header}\n"]
    for title, settings in sections.items():
        lines = [f"[{title}]\n"]
        for name, value in settings:
            if re.search(r"[\0\r\n]", value) or value.endswith("\\"):
                raise OptionError(f"{name} must be one line that does not end with a backslash, got {value!r}")
            lines.append(f"{name}={value}\n")
        blocks.append("".join(lines))
    return "\n".join(blocks)
