"""Users, passwords, logins, keys and limits of a shared app, without a server."""

from __future__ import annotations

import json
import stat
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from smolvlm_core.access import logins as logins_module
from smolvlm_core.access import sharing
from smolvlm_core.access.attempts import PER_ADDRESS, PER_NAME, WINDOW_SECONDS, Attempts
from smolvlm_core.access.logins import Logins, TooManyAttempts, WrongPassword
from smolvlm_core.access.quota import refuse_if_full, used_bytes
from smolvlm_core.access.users import Users
from smolvlm_core.cli import main
from smolvlm_core.errors import LensError, StoreError

PASSWORD = "correct horse battery"


@pytest.fixture
def users(own_data_folder: Path) -> Users:
    users = Users(own_data_folder)
    users.put("anna", password=PASSWORD, is_admin=True, owns=True)
    users.put("bob", password=PASSWORD)
    return users


def test_a_password_is_stored_as_a_hash_that_only_this_user_reads(users: Users, own_data_folder: Path) -> None:
    Logins(users).sign_in("anna", PASSWORD, "10.0.0.1")
    for name in ("users.json", "login.key"):
        path = own_data_folder / name
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert PASSWORD not in path.read_text()
    assert users.find("ANNA ") == users.find("anna")
    hashes = {user.password for user in users.all()}
    assert len(hashes) == 2 and all(one.startswith("$argon2id$") for one in hashes), "each has its own salt"


def test_only_the_right_password_signs_in(users: Users) -> None:
    logins = Logins(users)
    user = logins.user_of(logins.sign_in(" Anna", PASSWORD, "10.0.0.1"))
    assert user is not None and user.name == "anna" and user.is_admin
    users.put("nopassword", password="")
    for name, password in (
        ("anna", "wrong"),
        ("nobody", PASSWORD),
        ("nopassword", ""),
        ("", PASSWORD),
        ("anna", "x" * 2000),
    ):
        with pytest.raises(WrongPassword):
            Logins(users).sign_in(name, password, "10.0.0.1")


def test_a_login_ends_with_its_password_its_user_its_time_or_when_it_is_signed_out(
    users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    logins = Logins(users)
    first, second = (logins.sign_in("bob", PASSWORD, "10.0.0.1") for _ in range(2))
    logins.sign_out(first)
    assert logins.user_of(first) is None and logins.user_of(second) is not None
    assert Logins(users).user_of(first) is None, "after a restart too"
    assert logins.user_of(second[:-2] + "xx") is None and logins.user_of("") is None
    users.put("bob", password="another long password")
    assert logins.user_of(second) is None, "whoever knew the old password is out"
    third = logins.sign_in("bob", "another long password", "10.0.0.1")
    users.put("bob", is_admin=True)
    assert (found := logins.user_of(third)) is not None and found.is_admin, "rights change at once"
    monkeypatch.setattr(logins_module, "LIFETIME_SECONDS", -1)
    assert logins.user_of(third) is None
    monkeypatch.undo()
    users.remove("bob")
    assert logins.user_of(third) is None


def test_guessing_is_stopped_by_address_and_by_name(users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    logins = Logins(users, Attempts(lambda: now[0]))
    for _ in range(PER_ADDRESS):
        with pytest.raises(WrongPassword):
            logins.sign_in("anna", "wrong", "10.0.0.1")
    with pytest.raises(TooManyAttempts):
        logins.sign_in("anna", PASSWORD, "10.0.0.1")
    assert logins.sign_in("anna", PASSWORD, "10.0.0.2"), "others still sign in"
    for n in range(PER_ADDRESS):
        with pytest.raises(WrongPassword):
            logins.sign_in("bob", "wrong", f"2001:db8::{n}")
    with pytest.raises(TooManyAttempts):
        logins.sign_in("bob", PASSWORD, "2001:db8::ffff")
    now[0] = WINDOW_SECONDS + 1
    assert logins.sign_in("anna", PASSWORD, "10.0.0.1")
    monkeypatch.setattr("smolvlm_core.access.passwords.matches", lambda *_: False)
    for n in range(PER_NAME):
        with pytest.raises(WrongPassword):
            logins.sign_in("anna", "wrong", f"10.1.0.{n}")
    with pytest.raises(TooManyAttempts):
        logins.sign_in("anna", "wrong", "10.2.0.1")


def test_many_guesses_at_once_count_one_by_one(users: Users) -> None:
    logins = Logins(users)

    def guess(n: int) -> type[Exception]:
        with pytest.raises((WrongPassword, TooManyAttempts)) as refused:
            logins.sign_in("anna", f"guess {n}", "10.0.0.1")
        return refused.type

    with ThreadPoolExecutor(20) as pool:
        refusals = Counter(pool.map(guess, range(20)))
    assert refusals == {WrongPassword: PER_ADDRESS, TooManyAttempts: 20 - PER_ADDRESS}


def test_a_user_who_guesses_another_password_gains_nothing_by_signing_in_between(users: Users) -> None:
    logins = Logins(users)
    for _ in range(PER_ADDRESS - 1):
        with pytest.raises(WrongPassword):
            logins.sign_in("anna", "wrong", "10.0.0.1")
        logins.sign_in("bob", PASSWORD, "10.0.0.1")
    with pytest.raises(WrongPassword):
        logins.sign_in("anna", "wrong", "10.0.0.1")
    with pytest.raises(TooManyAttempts):
        logins.sign_in("anna", "wrong", "10.0.0.1")


def test_an_address_in_the_log_is_one_line(users: Users, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(WrongPassword):
        Logins(users).sign_in("an\nna", "wrong", "10.0.0.1\x1b[2J\nlogin of 'anna' from 10.0.0.1")
    assert caplog.messages == [r"login of 'an\nna' from 10.0.0.1\x1b[2J\nlogin of 'anna' from 10.0.0.1 failed"]


def test_letters_that_only_look_alike_are_another_name(users: Users) -> None:
    """ "\u212a".lower() is "k"."""
    users.put("kate@example.org")
    users.put("@example.net")
    assert users.find("KATE@Example.org") is not None
    for alike in ("\u212aate@example.org", "k\u0430te@example.org", "\u212aate@example.net", "kate@e\u212aample.net"):
        assert users.find(alike) is None, alike


def test_people_of_a_domain_are_users_of_their_own(users: Users, own_data_folder: Path) -> None:
    users.put("@example.org")
    user = users.find("Eve@Example.org")
    assert user is not None and user.name == "eve@example.org" and not user.is_admin
    assert user.folder(own_data_folder) == own_data_folder / "users" / "eve@example.org"
    for other in ("eve@example.com", "eve@sub.example.org", "@example.org", "../x@example.org", "eve@", ""):
        assert users.find(other) is None, other


def test_names_that_are_no_safe_folder_are_refused(users: Users) -> None:
    for name in ("../bob", "a/b", "", ".", "..", "-x", "a\\b", "con.", "ä", "a" * 200, "a b", "@"):
        with pytest.raises(LensError):
            users.put(name, password=PASSWORD)


def test_what_is_stored_here_belongs_to_one_user(users: Users, own_data_folder: Path) -> None:
    assert (anna := users.find("anna")) is not None and anna.folder(own_data_folder) == own_data_folder
    with pytest.raises(LensError, match="belongs to anna"):
        users.put("bob", owns=True)
    users.put("anna", owns=False)
    with pytest.raises(LensError, match="no one person"):
        users.put("@example.org", owns=True)


@pytest.mark.parametrize(
    "contents",
    [
        "",
        "[]",
        "{",
        '{"users": {}}',
        '{"users": [{"name": "../x"}]}',
        '{"users": [{"name": "bob", "is_admin": "no"}]}',
        '{"users": [{"name": "bob", "unknown": 1}]}',
        '{"users": [{"name": "bob", "keys": [{"id": 1, "label": "", "digest": "x", "created": 1}]}]}',
        '{"users": [{"name": "bob", "keys": [{"id": "1", "label": 1, "digest": "x", "created": 1}]}]}',
        '{"users": [{"name": "bob", "keys": [{"id": "1", "label": "", "digest": "x", "created": 1e300}]}]}',
        '{"users": [{"name": "bob"}, {"name": "bob", "is_admin": true}]}',
        '{"users": [], "limits": {"disk_bytes": "all"}}',
        '{"users": [], "limits": {"questions": -1}}',
    ],
)
def test_a_damaged_file_of_users_lets_nobody_in(users: Users, own_data_folder: Path, contents: str) -> None:
    token = Logins(users).sign_in("anna", PASSWORD, "10.0.0.1")
    (own_data_folder / "users.json").write_text(contents)
    with pytest.raises(StoreError, match=r"users\.json"):
        Logins(users).user_of(token)
    with pytest.raises(StoreError, match=r"users\.json"):
        users.put("eve", password=PASSWORD)
    assert (own_data_folder / "users.json").read_text() == contents, "it is left as it is"


def test_a_key_belongs_to_a_user_until_it_is_revoked(users: Users, own_data_folder: Path) -> None:
    key = users.add_key("bob", "laptop")
    other = users.add_key("anna")
    owner = users.owner_of_key(key)
    assert owner is not None and owner.name == "bob" and owner.keys[0].label == "laptop"
    assert key.split("_", 2)[2] not in (own_data_folder / "users.json").read_text()
    mixed = "_".join([*key.split("_", 2)[:2], other.split("_", 2)[2]])
    for wrong in ("", "lens_", key[:-1], mixed, key.replace("lens", "sk"), "lens__", "\ud800"):
        assert users.owner_of_key(wrong) is None
    users.revoke_key(owner.keys[0].id)
    assert users.owner_of_key(key) is None and users.owner_of_key(other) is not None


@pytest.mark.parametrize(
    "address, hosts, login, shared",
    [
        ("localhost", ["localhost", "127.0.0.1", "::1"], "", False),
        ("127.0.0.1", ["localhost"], "", False),
        ("::1", ["localhost"], "", False),
        ("", ["localhost"], "", True),
        ("0.0.0.0", ["localhost"], "", True),
        ("::", ["localhost"], "", True),
        ("192.168.1.7", ["localhost"], "", True),
        ("localhost.example.org", ["localhost"], "", True),
        ("localhost", ["localhost", "lens.example.org"], "", True),
        ("localhost", ["*"], "", True),
        ("localhost", [], "", True),
        ("localhost", ["localhost"], "Always", True),
    ],
)
def test_sharing_is_told_from_the_settings(address: str, hosts: list[str], login: str, shared: bool) -> None:
    assert bool(sharing.why_shared(address, hosts, login)) is shared


def test_disk_space_of_a_user_is_limited(tmp_path: Path) -> None:
    (tmp_path / "uploads" / "a").mkdir(parents=True)
    (tmp_path / "uploads" / "a" / "x.png").write_bytes(b"0" * 600)
    (tmp_path / "conversations.sqlite3").write_bytes(b"0" * 5000)
    assert used_bytes(tmp_path) == 600
    refuse_if_full(tmp_path, 400, 1000)
    with pytest.raises(StoreError, match="your limit"):
        refuse_if_full(tmp_path, 401, 1000)


def test_the_command_adds_lists_and_removes_users(
    own_data_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    def run(*args: str, typed: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        code = main(["users", *args])
        out = capsys.readouterr()
        return code, out.out, out.err

    assert run()[0] == 0
    code, out, err = run("add", "Everyone", typed=f"{PASSWORD}\n")
    assert (code, out) == (0, "everyone: password\n") and "--this-machine" in err
    assert run("add", "anna", "--admin", "--this-machine", typed=f"{PASSWORD}\n")[0] == 0
    assert run("add", "bob", typed="short\n")[0] == 1 and "too short" in run("add", "bob", typed="short\n")[2]
    assert run("add", "bob", typed="")[0] == 1
    assert run("add", "@example.org")[0] == 0
    _, key, _ = run("key", "anna", "--label", "laptop")
    assert run("limits", "--disk-gib", "2", "--questions", "3")[1] == "Each user: 2 GiB, 3 questions at once\n"
    listed = run()[1]
    assert "anna: password, admin, owns what was stored without a login" in listed and "laptop" in listed
    assert PASSWORD not in listed and key.strip() not in listed
    assert run("revoke", key.split("_")[1])[0] == 0 and "API key" not in run()[1]
    assert run("remove", "anna")[0] == 0 and "anna" not in run()[1]
    assert run("remove", "anna")[0] == 1
    (own_data_folder / "users" / "bob").mkdir(parents=True)
    assert "earlier user of this name" in run("add", "bob", "--no-password")[2]
    assert "earlier user of this name" not in run("add", "bob", "--admin", "--no-password")[2]
    run("add", "kate@example.org", "--no-password")
    assert "still sign in" in run("remove", "kate@example.org")[2]
    assert json.loads((own_data_folder / "users.json").read_text())["limits"]["questions"] == 3
