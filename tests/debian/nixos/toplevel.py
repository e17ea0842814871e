"""Writes the files of a system (`files`, `users`, `groups` of the JSON that Nix gives) as a tree to lay over Debian's."""

import json
import os
import sys

attrs = json.load(open(sys.argv[1]))
out = sys.argv[2]
root = f"{out}/root"


def write(path, text, mode="0644"):
    target = root + path
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "w") as file:
        file.write(text)
    os.chmod(target, int(mode, 8))


def debian(name):
    """A table of Debian's own accounts, as rows."""
    with open(f"{attrs['base']}/etc/{name}") as file:
        return [line.split(":") for line in file.read().splitlines()]


def number(wanted, taken, start):
    """The number that was asked for, or the next free one below `start`: the same for the same configuration."""
    if wanted is None:
        wanted = next(n for n in range(start, 0, -1) if n not in taken)
    taken.add(wanted)
    return wanted


passwd, group, shadow = debian("passwd"), debian("group"), debian("shadow")
gids = {int(row[2]) for row in group}
uids = {int(row[2]) for row in passwd}
for g in sorted(attrs["groups"], key=lambda g: g["name"]):
    members = {u["name"] for u in attrs["users"] if g["name"] in u["extraGroups"]} | set(g["members"])
    known = [row for row in group if row[0] == g["name"]]
    if known:
        known[0][3] = ",".join(sorted(members | set(filter(None, known[0][3].split(",")))))
    else:
        group.append([g["name"], "x", str(number(g["gid"], gids, 899)), ",".join(sorted(members))])
gid = {row[0]: row[2] for row in group}
for u in sorted(attrs["users"], key=lambda u: u["name"]):
    if any(row[0] == u["name"] for row in passwd):
        continue
    uid = str(number(u["uid"], uids, 899 if u["isSystemUser"] else 1899))
    shell = u["shell"] or ("/usr/sbin/nologin" if u["isSystemUser"] else "/bin/bash")
    passwd.append([u["name"], "x", uid, gid[u["group"]], u["description"], u["home"], shell])
    shadow.append([u["name"], "!*", "1", "", "", "", "", "", ""])
for name, rows, mode in [("passwd", passwd, "0644"), ("group", group, "0644"), ("shadow", shadow, "0640")]:
    write(f"/etc/{name}", "".join(":".join(row) + "\n" for row in rows), mode)

for path, file in attrs["files"].items():
    if "link" in file:
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        os.symlink(file["link"], root + path)
    else:
        write(path, file["text"], file["mode"])

write("/etc/tmpfiles.d/current-system.conf", f"L+ /run/current-system - - - - {out}\n")
for mountpoint in attrs["mountpoints"]:
    os.makedirs(root + mountpoint, exist_ok=True)
os.symlink(attrs["software"], f"{out}/sw")
os.symlink(f"{attrs['base']}/vmlinuz", f"{out}/kernel")
with open(f"{out}/kernel-params", "w") as file:
    file.write(" ".join(attrs["kernelParams"] + [f"layers.system={os.path.basename(out)}"]))
