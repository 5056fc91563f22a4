"""Several files -> one tree: includes, profiles of devices, tag tables. Each node keeps the file it came from.

A name that stands in two files is a mistake (nobody can see which wins); only a profile may be overridden, that is what
it is for. Paths are relative to the file that writes them. `version` is each file's own: `gateway scan` and `import`
make files to be included. A plant whose first file says one is as old as the oldest of its files.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping
from pathlib import Path

from gateway.config.changes import is_newer, is_older, too_new
from gateway.config.files import read_text
from gateway.config.scalars import parse_version
from gateway.config.tables import read_tags
from gateway.config.tree import Findings, Mark, Node
from gateway.config.yaml_nodes import read_yaml

MAX_FILES = 1000
"""Files of one plant: one per machine and more; a pattern that finds so many was written by mistake."""

_ASSEMBLY_KEYS = ("profile", "tags_file")
_SECTIONS = ("server", "units", "links", "devices")
"""Their keys may be spread over several files."""


class Assembler:
    """Reads a plant; `files` are all files read so far, for those who watch them."""

    def __init__(self, environ: Mapping[str, str], findings: Findings) -> None:
        self.environ = environ
        self.findings = findings
        self.files: list[Path] = []
        self._included: dict[Path, Mark] = {}
        self._profiles: dict[Path, Node | None] = {}

    def plant(self, path: Path) -> Node | None:
        """The whole plant below its first file; None when that cannot be read."""
        self._included[path.resolve()] = Mark(str(path), 1, 1)
        top = self._read(path, None)
        if top is None:
            return None
        whole = Node({}, top.mark)
        self._add(top, whole, is_first=True)
        devices = whole.mapping.get("devices")
        for name, device in list(devices.mapping.items()) if devices else ():
            if any(key in device.mapping for key in _ASSEMBLY_KEYS):
                assert devices is not None
                devices.put(name, self._device(device, name), devices.keys[name])
        return whole

    def _read(self, path: Path, asked: Mark | None) -> Node | None:
        """The top of one YAML file, a mapping."""
        if not self._remember(path, asked):
            return None
        text = read_text(path, self.findings, asked)
        node = None if text is None else read_yaml(text, str(path), self.environ, self.findings)
        if node is None:
            return None
        if not isinstance(node.value, dict):
            kind = "a list" if isinstance(node.value, list) else "a single text"
            hint = "; a key needs a blank after its colon" if isinstance(node.value, str) and ":" in node.value else ""
            self.findings.error_at(node.mark, (), f"the file is {kind}; expected keys such as `devices:`{hint}")
            return None
        return node

    def _remember(self, path: Path, asked: Mark | None) -> bool:
        """Notes that the file is part of the plant; false when there are too many."""
        if len(self.files) >= MAX_FILES:
            if asked:
                self.findings.error_at(asked, (), f"a plant has at most {MAX_FILES} files")
            return False
        self.files.append(path)
        if str(path) not in self.findings.files:
            self.findings.files.append(str(path))
        return True

    def _add(self, top: Node, whole: Node, *, is_first: bool = False) -> None:
        """Adds one file to the plant, then the files that it includes."""
        for key, node in top.mapping.items():
            mark = top.keys[key]
            if key.startswith("x-") or key == "include":
                continue
            if key == "version" and not is_first:
                self._add_version(node, mark, whole)
                continue
            known = whole.mapping.get(key)
            if known is None:
                # A mapping of our own: other files add to it.
                whole.put(key, Node(dict(node.mapping), node.mark, dict(node.keys)) if node.mapping else node, mark)
            elif key in _SECTIONS and isinstance(known.value, dict) and isinstance(node.value, dict):
                self._add_section(key, node, known)
            elif key in _SECTIONS and node.value == "":
                continue
            elif key in _SECTIONS and known.value == "":
                whole.put(key, Node(dict(node.mapping), node.mark, dict(node.keys)) if node.mapping else node, mark)
            else:
                self.findings.error_at(mark, (key,), f"'{key}' stands in two files; first in {whole.keys[key]}")
        if "include" in top.mapping:
            for item in self._patterns(top.mapping["include"], top.keys["include"]):
                for path, mark in self._matches(item):
                    child = self._read(path, mark)
                    if child is not None:
                        self._add(child, whole)
                    else:
                        self.findings.left_out.update((section,) for section in _SECTIONS)

    def _add_version(self, node: Node, mark: Mark, whole: Node) -> None:
        """Of an included file."""
        try:
            version = parse_version(node.plain())
        except ValueError as error:
            self.findings.error_at(node.mark, ("version",), str(error))
            return
        known = whole.mapping.get("version")
        if is_newer(version):
            self.findings.error_at(mark, ("version",), too_new(version))
        elif known is not None and is_older(version, known.plain()):
            whole.put("version", node, mark)

    def _add_section(self, section: str, node: Node, known: Node) -> None:
        for key, child in node.mapping.items():
            if key in known.mapping:
                message = f"'{key}' stands in two files; first in {known.keys[key]}"
                self.findings.error_at(node.keys[key], (section, key), message)
            else:
                known.put(key, child, node.keys[key])

    def _patterns(self, node: Node, key_mark: Mark) -> list[Node]:
        if isinstance(node.value, dict) or not node.items:
            self.findings.error_at(
                key_mark, ("include",), "expected a list of files, such as `include: [lines/*.yaml]`"
            )
            return []
        for item in node.items:
            if not isinstance(item.value, str) or not item.value:
                self.findings.error_at(
                    item.mark, ("include",), "expected the name of a file or a pattern, `lines/*.yaml`"
                )
        return [item for item in node.items if isinstance(item.value, str) and item.value]

    def _matches(self, item: Node) -> list[tuple[Path, Mark]]:
        """The files one entry of `include` stands for, those that were included before left out with a finding."""
        assert isinstance(item.value, str)
        folder = Path(item.mark.file).parent
        if glob.has_magic(item.value):
            names = sorted(glob.glob(item.value, root_dir=folder, recursive=True))
            found = [folder / name for name in names if not (folder / name).is_dir()]
            if not found:
                message = f"no file matches `{item.value}` (looked in {folder.resolve()})"
                self.findings.error_at(item.mark, ("include",), message)
        else:
            found = [folder / item.value]
        matches = []
        for path in found:
            before = self._included.setdefault(path.resolve(), item.mark)
            if before is not item.mark:
                if str(path) == item.mark.file:
                    message = f"{path} includes itself"
                else:
                    message = f"{path} is part of the plant already, through {before}"
                self.findings.error_at(item.mark, ("include",), message)
            else:
                matches.append((path, item.mark))
        return matches

    def _device(self, device: Node, name: str) -> Node:
        """The device with its profile and its tag table written out."""
        path = ("devices", name)
        own = self._with_table(device, path)
        profile_name = own.mapping.get("profile")
        if profile_name is None:
            return own
        whole = Node(dict(own.mapping), own.mark, dict(own.keys))
        del whole.mapping["profile"]
        profile = self._profile(profile_name, path)
        if profile is None:
            self.findings.left_out.add((*path, "profile"))
            whole.mapping.pop("tags", None)  # they may be no more than what differs from the profile's
            return whole
        for key, child in profile.mapping.items():
            if key == "tags" and "tags" in own.mapping and own.mapping["tags"].value != "":
                whole.put("tags", _merge_tags(own.mapping["tags"], child), own.keys["tags"])
            elif key not in own.mapping and not key.startswith("x-"):
                whole.put(key, child, profile.keys[key])
        return whole

    def _profile(self, name: Node, path: tuple[str, str]) -> Node | None:
        if not isinstance(name.value, str) or not name.value:
            self.findings.error_at(name.mark, (*path, "profile"), "expected the name of a file")
            return None
        file = Path(name.mark.file).parent / name.value
        key = file.resolve()
        if key not in self._profiles:
            profile = self._read(file, name.mark)
            if profile and "profile" in profile.mapping:
                mark = profile.keys["profile"]
                self.findings.error_at(
                    mark, ("profile",), "a profile cannot be built on another one; use anchors in it"
                )
                del profile.mapping["profile"]
            self._profiles[key] = profile and self._with_table(profile, path)
        return self._profiles[key]

    def _with_table(self, device: Node, path: tuple[str, str]) -> Node:
        """The device (or profile) with the tags of its `tags_file` among its tags."""
        name = device.mapping.get("tags_file")
        if name is None:
            return device
        whole = Node(dict(device.mapping), device.mark, dict(device.keys))
        del whole.mapping["tags_file"]
        if not isinstance(name.value, str) or not name.value:
            self.findings.error_at(name.mark, (*path, "tags_file"), "expected the name of a CSV file")
            return whole
        file = Path(name.mark.file).parent / name.value
        if not self._remember(file, name.mark):
            return whole
        text = read_text(file, self.findings, name.mark)
        table = None if text is None else read_tags(text, str(file), (*path, "tags"), self.environ, self.findings)
        if table is None:
            self.findings.left_out.add((*path, "tags_file"))
            return whole
        own = device.mapping.get("tags")
        if own is not None and own.mapping:
            tags = Node(dict(table.mapping), own.mark, dict(table.keys))
            for tag, child in own.mapping.items():
                if tag in tags.mapping:
                    message = f"the tag '{tag}' stands in {table.keys[tag]} too"
                    self.findings.error_at(own.keys[tag], (*path, "tags", tag), message)
                tags.put(tag, child, own.keys[tag])
            whole.put("tags", tags, device.keys["tags"])
        elif own is None or own.value == "":
            whole.put("tags", table, device.keys["tags_file"])
        return whole


def _merge_tags(own: Node, profile: Node) -> Node:
    """Tags of both by name, in the profile's order; of one tag key by key, the device's own keys win."""
    if not isinstance(own.value, dict) or not isinstance(profile.value, dict):
        return own
    tags = Node(dict(profile.mapping), own.mark, dict(profile.keys))
    for name, tag in own.mapping.items():
        base = profile.mapping.get(name)
        if base is None or not isinstance(tag.value, dict):
            merged = tag
        else:
            merged = Node({**base.mapping, **tag.mapping}, tag.mark, {**base.keys, **tag.keys})
        tags.put(name, merged, own.keys[name])
    return tags
