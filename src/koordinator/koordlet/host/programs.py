"""What lscpu, lsblk and lvs print, as numbers and names. Pure; running them is the caller's business."""

import re
from collections.abc import Iterator, Mapping

import msgspec

_PAIR = re.compile(r'(\S+?)="([^"]*)"')


class CpuLine(msgspec.Struct, frozen=True):
    """One logical CPU of ``lscpu -e=CPU,NODE,SOCKET,CORE,CACHE,ONLINE``."""

    cpu: int
    core: int
    socket: int
    node: int
    inner_cache: str
    l3: int
    online: str


def lscpu(text: str) -> list[CpuLine]:
    """Online CPUs by node, socket, core, CPU. Raises ValueError when there is none."""
    found = [line for fields in map(str.split, text.splitlines()) if (line := _cpu_line(fields)) is not None]
    if not found:
        raise ValueError("lscpu lists no CPU")
    return sorted(found, key=lambda line: (line.node, line.socket, line.core, line.cpu))


def _cpu_line(fields: list[str]) -> CpuLine | None:
    if len(fields) < 6:
        return None
    cpu, node, socket, core, cache, online = fields[:6]
    caches = ["0", "", ""] if cache == "-" else cache.split(":")
    if len(caches) < 3 or not (cpu.isdigit() and socket.isdigit() and core.isdigit()):
        return None
    l3 = int(caches[3]) if len(caches) > 3 and caches[3].isdigit() else 0
    return CpuLine(int(cpu), int(core), int(socket), int(node) if node.isdigit() else 0, caches[0], l3, online)


class Disks(msgspec.Struct, frozen=True):
    """Whole disks with ``major:minor``, and partitions with their disk, all by ``/dev`` path."""

    disks: Mapping[str, str]
    partitions: Mapping[str, str]


def lsblk(text: str) -> Disks:
    """``lsblk -P -o NAME,TYPE,MAJ:MIN``. Raises ValueError on a line of another shape."""
    rows = list(_rows(text))
    disks = {f"/dev/{row['NAME']}": row["MAJ:MIN"] for row in rows if row["TYPE"] == "disk"}
    by_number = {number: path for path, number in disks.items()}
    partitions = {
        f"/dev/{row['NAME']}": disk
        for row in rows
        if row["TYPE"] == "part" and (disk := by_number.get(_disk_number(row["MAJ:MIN"]))) is not None
    }
    return Disks(disks, partitions)


def _rows(text: str) -> Iterator[Mapping[str, str]]:
    for line in filter(None, text.splitlines()):
        row = dict(_PAIR.findall(line))
        if row.keys() != {"NAME", "TYPE", "MAJ:MIN"}:
            raise ValueError(f"{line!r} is not a line of lsblk")
        yield row


def _disk_number(number: str) -> str:
    """A disk has sixteen minors; the first is its own."""
    major, _, minor = number.partition(":")
    return f"{major}:{int(minor) - int(minor) % 16}"


def lvs(text: str) -> dict[str, str]:
    """``lvs --noheadings --options lv_name,vg_name``: volume group by device-mapper path. Raises ValueError."""
    found = {}
    for line in filter(str.strip, text.splitlines()):
        fields = line.split()
        if len(fields) != 2:
            raise ValueError(f"{line!r} is not a line of lvs")
        volume, group = fields
        found[f"/dev/mapper/{group.replace('-', '--')}-{volume.replace('-', '--')}"] = group
    return found
