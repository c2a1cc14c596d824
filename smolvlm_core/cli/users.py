"""`users`: who may use an app and an API that are shared with other machines."""

from __future__ import annotations

import argparse
import getpass
import sys
from datetime import datetime
from typing import Any

from smolvlm_core.access.quota import used_bytes
from smolvlm_core.access.users import EVERYONE, User, Users
from smolvlm_core.cli.terminal import positive
from smolvlm_core.errors import LensError
from smolvlm_core.workspace import Workspace


def add(commands: Any) -> None:
    users = commands.add_parser(
        "users",
        help="who may sign in where the app or the API is shared",
        description="Without a further word: list the users, their rights and their API keys. Changes take effect at once, also in "
        "an app that runs. On this machine alone, no one needs to sign in.",
    )
    users.set_defaults(run=_list)
    actions = users.add_subparsers(metavar="ACTION")
    _add_user(actions)
    remove = actions.add_parser("remove", help="end their logins and keys; what they stored stays")
    remove.add_argument("name", metavar="NAME")
    remove.set_defaults(run=_remove)
    key = actions.add_parser("key", help="make an API key for a user, and print it once")
    key.add_argument("name", metavar="NAME")
    key.add_argument("--label", default="", help="what it is for")
    key.set_defaults(run=_key)
    revoke = actions.add_parser("revoke", help="end an API key")
    revoke.add_argument("id", metavar="ID", help="as `users` lists it")
    revoke.set_defaults(run=_revoke)
    limits = actions.add_parser("limits", help="set what each user may take")
    limits.add_argument("--disk-gib", metavar="N", type=positive, help="of pictures, clips, uploads and timelines")
    limits.add_argument("--questions", metavar="N", type=positive, help="that run and wait at once")
    limits.set_defaults(run=_limits)


def _add_user(actions: Any) -> None:
    new = actions.add_parser(
        "add",
        help="add a user, or change one: asks for the password, or reads it from a pipe",
        description=f"NAME is a user name, an e-mail address, or @example.org for everyone whom an identity provider knows by such "
        f"an address. The name {EVERYONE!r} is one password for all: the login then asks for no name.",
    )
    new.add_argument("name", metavar="NAME")
    new.add_argument(
        "--admin",
        action=argparse.BooleanOptionalAction,
        help="may add backends, name paths on this machine, and see how much each user stores, not what",
    )
    new.add_argument(
        "--this-machine",
        action=argparse.BooleanOptionalAction,
        help="owns what was stored here without a login: conversations, batches, votes",
    )
    new.add_argument(
        "--no-password", action="store_true", help="signs in with an identity provider, or uses API keys only"
    )
    new.set_defaults(run=_add)


def _add(args: argparse.Namespace, workspace: Workspace) -> int:
    users = Users(workspace.folder)
    is_new = args.name.strip() and users.find(args.name) is None
    password = "" if args.no_password or args.name.startswith("@") else _asked_password()
    user = users.put(args.name, password=password, is_admin=args.admin, owns=args.this_machine)
    print(_described(user))
    folder = user.folder(workspace.folder)
    if is_new and not user.owns_machine_data and folder.exists():
        print(
            f"An earlier user of this name stored something, and {user.name} sees it. Else remove {folder}",
            file=sys.stderr,
        )
    if not any(other.owns_machine_data for other in users.all()):
        print(
            "What was stored here without a login stays, but no user sees it. `users add NAME --this-machine` gives it to one.",
            file=sys.stderr,
        )
    return 0


def _asked_password() -> str:
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\r\n")
        if not password:
            raise LensError("There is no password.", "Write it to the standard input, or add --no-password.")
        return password
    password = getpass.getpass("Password: ")
    if password != getpass.getpass("Again: "):
        raise LensError("The two passwords differ.", "Try again.")
    return password


def _remove(args: argparse.Namespace, workspace: Workspace) -> int:
    users = Users(workspace.folder)
    user = users.remove(args.name)
    print(f"{user.name} removed. What they stored stays in {user.folder(workspace.folder)}")
    if users.find(user.name) is not None:
        print(
            f"They can still sign in with an identity provider: everyone of @{user.name.rpartition('@')[2]} can.",
            file=sys.stderr,
        )
    return 0


def _key(args: argparse.Namespace, workspace: Workspace) -> int:
    key = Users(workspace.folder).add_key(args.name, args.label)
    print("Keep it safe: it is not shown again.", file=sys.stderr)
    print(key)
    return 0


def _revoke(args: argparse.Namespace, workspace: Workspace) -> int:
    print(f"The key {args.id} of {Users(workspace.folder).revoke_key(args.id).name} ends.")
    return 0


def _limits(args: argparse.Namespace, workspace: Workspace) -> int:
    disk = args.disk_gib * 2**30 if args.disk_gib else None
    limits = Users(workspace.folder).set_limits(disk_bytes=disk, questions=args.questions)
    print(f"Each user: {limits.disk_bytes / 2**30:g} GiB, {limits.questions} questions at once")
    return 0


def _list(args: argparse.Namespace, workspace: Workspace) -> int:
    users = Users(workspace.folder)
    for user in users.all():
        used = used_bytes(user.folder(workspace.folder))
        print(f"{_described(user)}{'' if user.is_domain else f', {used / 2**20:.0f} MiB stored'}")
        for key in user.keys:
            made = datetime.fromtimestamp(key.created).strftime("%Y-%m-%d")
            print(f"    API key {key.id} of {made} {key.label}".rstrip())
    if not users.all():
        print("There are no users: `users add NAME` adds one.", file=sys.stderr)
    return 0


def _described(user: User) -> str:
    rights = [
        "password" if user.password else "no password",
        *(["admin"] if user.is_admin else []),
        *(["owns what was stored without a login"] if user.owns_machine_data else []),
    ]
    return f"{user.name}: {', '.join(rights)}"
