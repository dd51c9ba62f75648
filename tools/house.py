"""Count and draw the house: the rooms of ``edge_vseg``, what imports what, and how much a device loads.

A *room* is a package or module directly under ``edge_vseg``; the three linked folders are followed. An *arrow* is one
room importing another, at the top of a file or inside a function. A *floor* is a step of the longest chain of arrows.

    python tools/house.py                  # print the figures
    python tools/house.py --check          # exit 1 if rooms import in a circle or two public things share a name
    python tools/house.py --draw FILE.png  # draw the rooms floor by floor
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "edge_vseg"
DEVICE = "from edge_vseg import Segmenter; import edge_vseg.scheduling.assembly, edge_vseg.scheduling.policies"
"""What a program on a device imports to open a bundle and schedule its frames."""
MAX_PARAMETERS = 7
SAME_NAME_ALLOWED = {"main", "cli"}
"""Names that may stand more than once: entry points; and the room of commands, which are called like what they run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """The import graph of the package, room by room.

    Attributes:
        modules: Path of each module by its dotted name.
        arrows: Rooms that each room imports.
    """

    modules: Mapping[str, Path]
    arrows: Mapping[str, frozenset[str]]

    @classmethod
    def read(cls, root: Path) -> House:
        """Read the package in a folder."""
        sys.path.insert(0, str(root))
        graph = grimp.build_graph(PACKAGE, cache_dir=None)
        modules = {name: module_path(root, name) for name in graph.modules}
        arrows: dict[str, set[str]] = {room: set() for room in map(room_of, modules) if room}
        for name in modules:
            for imported in graph.find_modules_directly_imported_by(name):
                start, end = room_of(name), room_of(imported)
                if start and end and start != end:
                    arrows[start].add(end)
        return cls(modules=modules, arrows={room: frozenset(ends) for room, ends in arrows.items()})

    def circles(self) -> list[frozenset[str]]:
        """Groups of rooms that reach each other."""
        reached = {room: reach(self.arrows, room) for room in self.arrows}
        groups = {frozenset(b for b in reached[a] if a in reached[b]) for a in reached}
        return sorted((group for group in groups if len(group) > 1), key=sorted)

    def floors(self) -> dict[str, int]:
        """The floor of each room: 0 for one that imports none, else one above the highest that it imports."""
        circular = set().union(*self.circles()) if self.circles() else set()
        found: dict[str, int] = {}

        def floor(room: str) -> int:
            if room not in found:
                below = [end for end in self.arrows[room] if not {room, end} <= circular]
                found[room] = 1 + max(map(floor, below), default=-1)
            return found[room]

        for room in self.arrows:
            floor(room)
        return found


def module_path(root: Path, name: str) -> Path:
    """The file of a module or package."""
    base = root.joinpath(*name.split("."))
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def room_of(module: str) -> str | None:
    """The room of a module; ``None`` for the package itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def reach(arrows: Mapping[str, Iterable[str]], start: str) -> frozenset[str]:
    """Every room that can be reached from one, itself included."""
    reached, waiting = {start}, [start]
    while waiting:
        new = set(arrows[waiting.pop()]) - reached
        reached |= new
        waiting += new
    return frozenset(reached)


def definitions(house: House) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]]:
    """Functions and classes of all modules, methods included, with their module."""
    for name, path in sorted(house.modules.items()):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield name, node


def shared_names(house: House) -> dict[str, list[str]]:
    """Public names that more than one module defines at its top level; a command may be called like what it runs."""
    where: defaultdict[str, list[str]] = defaultdict(list)
    for name, path in sorted(house.modules.items()):
        if room_of(name) in SAME_NAME_ALLOWED or name.endswith("__main__"):
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                where[node.name].append(name)
    return {name: modules for name, modules in where.items() if len(modules) > 1 and name not in SAME_NAME_ALLOWED}


def many_parameters(house: House) -> list[str]:
    """Functions with more than :data:`MAX_PARAMETERS` parameters; commands are left out, their options are a table."""
    found = []
    for name, node in definitions(house):
        if isinstance(node, ast.ClassDef) or room_of(name) == "cli" or name.endswith("training.__main__"):
            continue
        arguments = node.args
        count = sum(
            a.arg not in ("self", "cls") for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
        )
        if count > MAX_PARAMETERS:
            found.append(f"{name}.{node.name} ({count})")
    return found


def device_modules(root: Path) -> list[str]:
    """Modules of the package that a device imports, by a fresh interpreter."""
    code = f"{DEVICE}; import json, sys; print(json.dumps([m for m in sys.modules if m.split('.')[0] == '{PACKAGE}']))"
    shown = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    names: list[str] = json.loads(shown.stdout)
    return names


def count_lines(house: House, modules: Iterable[str]) -> int:
    """Lines of some modules."""
    return sum(len(house.modules[name].read_text(encoding="utf-8").splitlines()) for name in modules)


def count_words(paths: Iterable[Path]) -> int:
    """Words of some text files."""
    return sum(len(path.read_text(encoding="utf-8").split()) for path in paths)


def figures(house: House, root: Path) -> dict[str, int]:
    """The house in numbers."""
    device = device_modules(root)
    return {
        "rooms": len(house.arrows),
        "arrows": sum(map(len, house.arrows.values())),
        "floors": 1 + max(house.floors().values()),
        "circles": len(house.circles()),
        "modules": len(house.modules),
        "lines": count_lines(house, house.modules),
        "modules that a device imports": len(device),
        "lines that a device imports": count_lines(house, device),
        f"functions with more than {MAX_PARAMETERS} parameters": len(many_parameters(house)),
        "public names used twice": len(shared_names(house)),
        "words of README.md": count_words([root / "README.md"]),
        "words of docs/": count_words((root / "docs").rglob("*.md")),
    }


def direct_arrows(house: House) -> list[tuple[str, str]]:
    """The arrows that no chain of other arrows implies: the fewest that still show what reaches what."""
    found = []
    for room, ends in sorted(house.arrows.items()):
        for end in sorted(ends):
            detours = (reach(house.arrows, other) for other in ends if other != end)
            if not any(end in rooms for rooms in detours):
                found.append((room, end))
    return found


def draw(house: House, path: Path) -> None:
    """Draw the rooms floor by floor, with the arrows that no others imply."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    floors = house.floors()
    rows: defaultdict[int, list[str]] = defaultdict(list)
    for room in sorted(floors):
        rows[floors[room]].append(room)
    arrows = direct_arrows(house)
    place: dict[str, tuple[float, float]] = {}
    for level in sorted(rows, reverse=True):
        # A room stands below those that import it, so that few arrows cross.
        above = {room: [place[start][0] for start, end in arrows if end == room] or [5.0] for room in rows[level]}
        row = sorted(rows[level], key=lambda room: sum(above[room]) / len(above[room]))
        place |= {room: ((at + 0.5) / len(row) * 10, level * 1.3) for at, room in enumerate(row)}
    figure, axes = pyplot.subplots(figsize=(9, 0.95 * len(rows) + 0.6))
    for room, end in arrows:
        (x, y), (end_x, end_y) = place[room], place[end]
        style = {"arrowstyle": "-|>", "color": "#6b7a90", "lw": 1.1, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", xy=(end_x, end_y + 0.36), xytext=(x, y - 0.36), arrowprops=style)
    for room, (x, y) in place.items():
        lines = count_lines(house, [name for name in house.modules if room_of(name) == room])
        box = {"boxstyle": "round,pad=0.45", "fc": "#eef3fb", "ec": "#30527c"}
        axes.text(x, y, f"{room}\n{lines:,} lines", ha="center", va="center", fontsize=9, bbox=box)
    axes.text(
        0, -0.9, "An arrow means: imports. Arrows that follow from others are left out.", fontsize=8, color="#555"
    )
    axes.set_xlim(0, 10)
    axes.set_ylim(-1, 1.3 * max(rows) + 0.7)
    axes.axis("off")
    figure.savefig(path, dpi=130, bbox_inches="tight")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 on a circle, or a public name used twice")
    parser.add_argument("--draw", type=Path, metavar="FILE", help="draw the rooms")
    parser.add_argument(
        "--list", action="store_true", help="also list names used twice and functions of many parameters"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--root", type=Path, default=ROOT, help="another checkout")
    arguments = parser.parse_args()
    house = House.read(arguments.root)
    if arguments.draw:
        draw(house, arguments.draw)
        return 0
    circles = [" <-> ".join(sorted(group)) for group in house.circles()]
    shared = [f"{name}: {', '.join(modules)}" for name, modules in sorted(shared_names(house).items())]
    if arguments.check:
        for line in (*(f"circle: {circle}" for circle in circles), *(f"name used twice: {line}" for line in shared)):
            print(line)
        if not circles and not shared:
            print(f"{len(house.arrows)} rooms, no circle, no public name used twice")
        return 1 if circles or shared else 0
    found = figures(house, arguments.root)
    if arguments.json:
        print(json.dumps(found, indent=1))
        return 0
    for what, count in found.items():
        print(f"{what:48}{count:>8,}")
    if arguments.list:
        print(*circles, *shared, *many_parameters(house), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
