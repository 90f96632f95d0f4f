"""Rename identifiers by a language server, which knows what each name refers to.

Usage: python rename.py BASE TABLE.json...   (in the root of a checkout; BASE is the commit that the tables were made on)

Every entry has file, line, name, new (and col, strings where there are). The server is asked to rename at the definition;
all edits are collected against one state of the files and applied at the end.
"""

from __future__ import annotations

import difflib
import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from urllib.parse import unquote, urlparse

ROOT = Path.cwd()
SERVER = Path(sys.executable).parent / "basedpyright-langserver"


class Client:
    def __init__(self) -> None:
        self.process = subprocess.Popen([SERVER, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.next = 0

    def send(self, message: dict) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.process.stdin.flush()

    def receive(self) -> dict:
        length = 0
        while (line := self.process.stdout.readline().strip()):
            if line.lower().startswith(b"content-length"):
                length = int(line.split(b":")[1])
        return json.loads(self.process.stdout.read(length))

    def request(self, method: str, params: dict) -> dict:
        self.next += 1
        number = self.next
        self.send({"id": number, "method": method, "params": params})
        while True:
            message = self.receive()
            if message.get("id") == number and "method" not in message:
                return message
            if "method" in message and "id" in message:
                result: object = None
                if message["method"] == "workspace/configuration":
                    result = [SETTINGS.get(item.get("section", ""), {}) for item in message["params"]["items"]]
                self.send({"id": message["id"], "result": result})


ANALYSIS = {"diagnosticMode": "openFilesOnly", "typeCheckingMode": "basic"}
SETTINGS = {"basedpyright.analysis": ANALYSIS, "basedpyright": {"analysis": ANALYSIS}, "python": {"pythonPath": sys.executable},
            "python.analysis": ANALYSIS}


def mapped_lines(base: str, file: str) -> dict[int, int]:
    old = subprocess.run(["git", "show", f"{base}:{file}"], capture_output=True, text=True).stdout.split("\n")
    path = ROOT / file
    if not path.exists():
        return {}
    new = path.read_text().split("\n")
    if old == new:
        return {i + 1: i + 1 for i in range(len(old))}
    mapping = {}
    for a, b, n in difflib.SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks():
        for i in range(n):
            mapping[a + i + 1] = b + i + 1
    return mapping


def main() -> None:
    base, *tables = sys.argv[1:]
    entries = []
    for table in tables:
        for entry in json.loads(Path(table).read_text()):
            entries.append(entry)
            for where in (entry.get("overrides") or []) + (entry.get("keywords") or []):
                name, _, at = where.rpartition(":")
                entries.append({"file": name, "line": int(at), "name": entry["name"], "new": entry["new"], "qualname": entry["qualname"]})
    client = Client()
    client.request("initialize", {
        "processId": None, "rootUri": ROOT.as_uri(), "workspaceFolders": [{"uri": ROOT.as_uri(), "name": "w"}],
        "capabilities": {"workspace": {"configuration": True, "workspaceFolders": True, "workspaceEdit": {"documentChanges": True}},
                         "textDocument": {"rename": {"prepareSupport": True}}},
    })
    client.send({"method": "initialized", "params": {}})
    lines: dict[str, dict[int, int]] = {}
    opened: set[str] = set()
    edits: dict[str, dict[tuple[int, int], tuple[int, str, str]]] = defaultdict(dict)
    report = []
    for number, entry in enumerate(entries):
        file = entry["file"]
        if file not in lines:
            lines[file] = mapped_lines(base, file)
        line = lines[file].get(entry["line"])
        label = f"{file}:{entry['line']} {entry.get('qualname', entry['name'])} -> {entry['new']}"
        if line is None:
            report.append(f"GONE {label}")
            continue
        text = (ROOT / file).read_text().split("\n")[line - 1]
        hits = [m.start() for m in re.finditer(rf"(?<!\w){re.escape(entry['name'])}(?!\w)", text)]
        if entry.get("col") and entry["col"] - 1 in hits:
            hits = [entry["col"] - 1]
        if not hits:
            report.append(f"NOHIT {label}")
            continue
        uri = (ROOT / file).as_uri()
        if uri not in opened:
            client.send({"method": "textDocument/didOpen", "params": {"textDocument": {
                "uri": uri, "languageId": "python", "version": 1, "text": (ROOT / file).read_text()}}})
            opened.add(uri)
        done = False
        for col in hits:
            answer = client.request("textDocument/rename", {
                "textDocument": {"uri": uri}, "position": {"line": line - 1, "character": col}, "newName": entry["new"]})
            result = answer.get("result")
            if not result:
                continue
            changes = result.get("documentChanges") or [
                {"textDocument": {"uri": u}, "edits": es} for u, es in (result.get("changes") or {}).items()]
            count = 0
            for change in changes:
                path = unquote(urlparse(change["textDocument"]["uri"]).path)
                for edit in change["edits"]:
                    start, end = edit["range"]["start"], edit["range"]["end"]
                    key = (start["line"], start["character"])
                    before = edits[path].get(key)
                    if before and before[1] != edit["newText"]:
                        report.append(f"CLASH {label}: {path}:{start['line'] + 1} was {before[1]} by {before[2]}")
                        continue
                    if start["line"] != end["line"]:
                        report.append(f"MULTILINE {label}")
                        continue
                    edits[path][key] = (end["character"], edit["newText"], label)
                    count += 1
            done = done or count > 0
            if count:
                break
        if not done:
            report.append(f"REFUSED {label}: {json.dumps(answer)[:200]}")
        for where in entry.get("strings", []):
            name, _, at = where.rpartition(":")
            if name not in lines:
                lines[name] = mapped_lines(base, name)
            row = lines[name].get(int(at))
            if row is None:
                report.append(f"STRING GONE {label} {where}")
                continue
            content = (ROOT / name).read_text().split("\n")[row - 1]
            for m in re.finditer(r"\"[^\"]*\"|'[^']*'", content):
                for n in re.finditer(rf"(?<!\w){re.escape(entry['name'])}(?!\w)", m[0]):
                    key = (row - 1, m.start() + n.start())
                    edits[str(ROOT / name)][key] = (key[1] + len(entry["name"]), entry["new"], label)
                    break
        if number % 50 == 0:
            print(number, len(entries), file=sys.stderr, flush=True)
    total = 0
    for path, changes in edits.items():
        if not Path(path).is_relative_to(ROOT) or "/node_modules/" in path:
            report.append(f"OUTSIDE {path}")
            continue
        content = Path(path).read_text().split("\n")
        for (row, col), (end, new, _) in sorted(changes.items(), reverse=True):
            content[row] = content[row][:col] + new + content[row][end:]
            total += 1
        Path(path).write_text("\n".join(content))
    print("\n".join(report))
    print("edits", total, "entries", len(entries))
    client.process.kill()


main()
