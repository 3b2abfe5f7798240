"""The files put into each machine: what the servers promise, and that nobody's name breaks them.

The textbook's files are kept whole as snapshots. After a change, read them in the diff:

    pytest tests/unit/test_services.py --snapshot-update
"""

from __future__ import annotations

import netrc
import re
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from syrupy.assertion import SnapshotAssertion

from lab.engine.plan import Plan, plan
from lab.services import File, webmail
from lab.services.mail_server import PATIENCE, RealSchedule, real_patience, real_schedule
from lab.topology.loader import load
from lab.topology.model import LINE_PATTERN, PASSWORD_PATTERN, MailServer, Schedule, User

TEXTBOOK = load("textbook")
BACKUP_MX = load("backup-mx")
NAMES = st.from_regex(LINE_PATTERN.removesuffix("$"), fullmatch=True)
PASSWORDS = st.from_regex(PASSWORD_PATTERN.removesuffix("$"), fullmatch=True)


def files(planned: Plan, node: str) -> dict[str, File]:
    return {file.path: file for file in planned.nodes[node].files}


def textbook(node: str, path: str, time_scale: float | None = None) -> str:
    """The content of a file in the textbook's lab."""
    return files(plan(TEXTBOOK, "lab", time_scale), node)[path].content


def alices(password: str = "wonderland", name: str | None = None) -> dict[str, str]:
    """The files of the textbook's lab that mention Alice, for an Alice of another kind."""
    server = TEXTBOOK.nodes["sender-mail"]
    assert isinstance(server, MailServer)
    users = {"alice": User(password=password, name=name)}
    nodes = TEXTBOOK.nodes | {
        "sender-mail": server.model_copy(update={"users": users}),
        "sender-pc": TEXTBOOK.nodes["sender-pc"].model_copy(
            update={"users": ("alice@sender.example",)}
        ),
    }
    planned = plan(TEXTBOOK.model_copy(update={"nodes": nodes}), "lab")
    found = files(planned, "sender-mail") | files(planned, "sender-pc")
    return {path: file.content for path, file in found.items()}


def settings(main_cf: str) -> dict[str, str]:
    """The parameters of a main.cf (postconf(5)); ours has each on one line."""
    lines = [line for line in main_cf.splitlines() if line and not line.startswith("#")]
    return {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}


def muttrc(content: str) -> dict[str, str]:
    """The variables set by `content`, read by muttrc(5)'s rules for strings in double quotes."""
    found = {}
    for line in content.split("\n"):
        if line and not line.startswith("#"):
            shape = re.fullmatch(r'set (\w+) = (?:"((?:[^"\\$`]|\\.)*)"|(\w+))', line)
            assert shape, line
            found[shape[1]] = shape[3] or re.sub(r"\\(.)", r"\1", shape[2])
    return found


def listing(planned: Plan, node: str) -> str:
    return "".join(
        f"──── {file.path}  mode {file.mode:o}  owner {file.owner}\n{file.content}"
        for file in planned.nodes[node].files
    )


@pytest.mark.parametrize("node", ["dns", "sender-mail", "sender-pc"])
def test_the_files_of_the_textbook(node: str, snapshot: SnapshotAssertion) -> None:
    assert listing(plan(TEXTBOOK, "lab"), node) == snapshot


def test_the_files_of_a_backup_mx(snapshot: SnapshotAssertion) -> None:
    assert listing(plan(BACKUP_MX, "lab"), "backup-mail") == snapshot


@pytest.mark.parametrize("node", [name for name in TEXTBOOK.nodes if name != "dns"])
def test_of_a_backup_only_the_name_server_is_told(node: str) -> None:
    assert plan(BACKUP_MX, "lab").nodes[node].files == plan(TEXTBOOK, "lab").nodes[node].files


def with_backup(node: str, **keys: object) -> Plan:
    """The lab with a backup MX in which the mail server `node` has other keys."""
    changed = BACKUP_MX.nodes[node].model_copy(update=keys)
    nodes = BACKUP_MX.nodes | {node: changed}
    return plan(BACKUP_MX.model_copy(update={"nodes": nodes}), "lab")


def test_a_server_with_mailboxes_can_be_the_backup_of_another() -> None:
    planned = with_backup("sender-mail", backup_for=("receiver.example",))
    alone = files(plan(BACKUP_MX, "lab"), "sender-mail")
    found = files(planned, "sender-mail")
    main = settings(found.pop("/etc/postfix/main.cf").content)
    assert main.items() >= settings(alone.pop("/etc/postfix/main.cf").content).items()
    assert main["relay_domains"] == "receiver.example"
    assert "bob@receiver.example exists\n" in found.pop("/etc/postfix/relay_recipients").content
    assert found == alone


def test_a_backup_knows_the_people_of_each_domain_it_stands_in_for_and_no_others() -> None:
    planned = with_backup("backup-mail", backup_for=("sender.example", "receiver.example"))
    found = files(planned, "backup-mail")
    main = settings(found["/etc/postfix/main.cf"].content)
    assert main["relay_domains"] == "sender.example, receiver.example"
    listed = found["/etc/postfix/relay_recipients"].content.splitlines()[1:]
    people = ["alice@sender.example", "carol@sender.example"]
    people += ["bob@receiver.example", "dave@receiver.example"]
    posts = ["postmaster@sender.example", "postmaster@receiver.example"]
    assert listed == [f"{address} exists" for address in people + posts]


def test_backups_are_less_preferred_than_the_server_with_the_mailboxes_wherever_they_stand() -> (
    None
):
    planned = with_backup("sender-mail", backup_for=("receiver.example",))
    lines = files(planned, "dns")["/etc/dnsmasq.conf"].content.splitlines()
    assert [line for line in lines if line.startswith("mx-host=")] == [
        "mx-host=sender.example,mail.sender.example,10",
        "mx-host=receiver.example,mail.receiver.example,10",
        "mx-host=receiver.example,mail.sender.example,20",
        "mx-host=receiver.example,backup.receiver.example,30",
    ]


def test_web_mail_is_set_up_beside_the_mail_server_and_has_no_key(
    snapshot: SnapshotAssertion,
) -> None:
    planned, path = plan(load("webmail"), "lab"), "/etc/roundcube/config.inc.php"
    there = files(planned, "sender-mail")
    assert there.keys() - files(plan(TEXTBOOK, "lab"), "sender-mail").keys() == {path}
    assert there[path].content == snapshot
    keys = re.findall(r"\['des_key'\] = (.*);", there[path].content)
    assert keys == ["trim(file_get_contents('/lab/webmail.key'))"], "made on the machine"


def test_web_mail_is_at_the_persons_own_server() -> None:
    site = plan(load("webmail"), "lab").site
    assert webmail.url(site, "bob@receiver.example") == "http://mail.receiver.example/"
    assert webmail.url(plan(TEXTBOOK, "lab").site, "bob@receiver.example") is None


def test_the_files_of_a_web_server(snapshot: SnapshotAssertion) -> None:
    assert listing(plan(load("web"), "lab"), "web") == snapshot


def test_a_router_has_no_files_of_its_own() -> None:
    assert files(plan(TEXTBOOK, "lab"), "internet") == {}


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        (1, RealSchedule(1800, 432000, 14400, queue_run=5, connect_timeout=30)),
        (60, RealSchedule(30, 7200, 240, queue_run=1, connect_timeout=1)),
        (600, RealSchedule(3, 720, 24, queue_run=1, connect_timeout=1)),
        (1800, RealSchedule(1, 240, 8, queue_run=1, connect_timeout=1)),
    ],
)
def test_the_schedule_in_real_time(scale: float, expected: RealSchedule) -> None:
    assert real_schedule(TEXTBOOK.schedule, scale) == expected


@given(st.integers(1, 10**7), st.integers(1, 10**7), st.floats(1e-3, 1e7))
def test_postfix_is_told_whole_seconds_and_never_zero(
    retry: int, give_up: int, scale: float
) -> None:
    schedule = Schedule.model_construct(retry=retry, give_up=give_up, delay_notice=give_up)
    for seconds in vars(real_schedule(schedule, scale)).values():
        assert isinstance(seconds, int)
        assert seconds >= 1


@pytest.mark.parametrize(
    ("scale", "greeting", "block", "end_of_data", "rset"),
    [
        (0.5, 600, 360, 1200, 40),
        (1, 300, 180, 600, 20),
        (12, 25, 15, 50, 10),
        (30, 10, 10, 20, 10),
        (60, 10, 10, 10, 10),
        (1800, 10, 10, 10, 10),
    ],
)
def test_a_server_waits_for_another_in_lab_time_but_long_enough_for_a_slow_machine(
    scale: float, greeting: int, block: int, end_of_data: int, rset: int
) -> None:
    patience = real_patience(scale)
    assert patience.keys() == PATIENCE.keys()
    assert patience["helo"] == patience["mail"] == patience["rcpt"] == patience["quit"] == greeting
    assert (patience["data_xfer"], patience["data_done"]) == (block, end_of_data)
    assert patience["rset"] == rset


def test_postfix_is_told_how_long_to_wait_for_each_part_of_a_dialogue() -> None:
    found = settings(textbook("sender-mail", "/etc/postfix/main.cf", 12))
    told = {key: value for key, value in found.items() if re.fullmatch(r"smtp_\w+_timeout", key)}
    assert told == {
        "smtp_connect_timeout": "5s",
        "smtp_helo_timeout": "25s",
        "smtp_mail_timeout": "25s",
        "smtp_rcpt_timeout": "25s",
        "smtp_data_init_timeout": "10s",
        "smtp_data_xfer_timeout": "15s",
        "smtp_data_done_timeout": "50s",
        "smtp_rset_timeout": "10s",
        "smtp_quit_timeout": "25s",
    }


def test_without_a_delay_notice_postfix_is_told_zero_which_means_never() -> None:
    assert real_schedule(Schedule(), 60).delay_notice == 0


def test_main_cf_has_the_schedule_of_the_time_scale_it_is_made_for() -> None:
    for scale, retry, give_up, notice in ((1, 1800, 432000, 14400), (600, 3, 720, 24)):
        found = settings(textbook("sender-mail", "/etc/postfix/main.cf", scale))
        assert found["minimal_backoff_time"] == found["maximal_backoff_time"] == f"{retry}s"
        assert found["maximal_queue_lifetime"] == f"{give_up}s"
        assert found["bounce_queue_lifetime"] == f"{give_up}s"
        assert found["delay_warning_time"] == f"{notice}s"


def test_mail_crosses_the_wire_in_plain_text() -> None:
    found = settings(textbook("sender-mail", "/etc/postfix/main.cf"))
    assert found["smtp_tls_security_level"] == found["smtpd_tls_security_level"] == "none"
    dovecot = textbook("sender-mail", "/etc/dovecot/dovecot.conf").splitlines()
    assert {"ssl = no", "auth_allow_cleartext = yes"} <= set(dovecot)


def test_a_server_relays_for_nobody_but_itself_and_who_has_logged_in() -> None:
    found = settings(textbook("sender-mail", "/etc/postfix/main.cf"))
    assert found["mynetworks"] == "127.0.0.0/8"
    assert found["smtpd_relay_restrictions"].split(", ") == [
        "permit_mynetworks",
        "permit_sasl_authenticated",
        "reject_unauth_destination",
    ]


def test_a_password_is_asked_for_on_the_submission_port_and_only_there() -> None:
    main = settings(textbook("sender-mail", "/etc/postfix/main.cf"))
    assert main["smtpd_sasl_auth_enable"] == "no"
    master = textbook("sender-mail", "/etc/postfix/master.cf")
    services = re.findall(r"^(\S+) +inet.*\n((?:  .*\n)*)", master, re.MULTILINE)
    assert [name for name, _ in services] == ["smtp", "submission"]
    options = {name: re.findall(r"-o (\w+)=(\S+)", lines) for name, lines in services}
    assert options["smtp"] == []
    submission = dict(options["submission"])
    assert submission["smtpd_sasl_auth_enable"] == "yes"
    assert submission["smtpd_client_restrictions"] == "permit_sasl_authenticated,reject"
    assert submission["smtpd_sender_restrictions"] == "reject_sender_login_mismatch"


def test_each_server_takes_mail_for_its_own_domain_and_mailboxes_only() -> None:
    main = settings(textbook("receiver-mail", "/etc/postfix/main.cf"))
    assert (main["virtual_mailbox_domains"], main["mydestination"]) == ("receiver.example", "")
    listed = textbook("receiver-mail", "/etc/postfix/mailboxes").splitlines()[1:]
    assert listed == ["bob@receiver.example exists", "dave@receiver.example exists"]
    aliases = textbook("receiver-mail", "/etc/postfix/aliases").splitlines()[1:]
    assert aliases == ["postmaster@receiver.example bob@receiver.example"]


def test_dovecot_knows_the_passwords_of_its_own_users() -> None:
    assert textbook("receiver-mail", "/etc/dovecot/users") == (
        "bob@receiver.example:{PLAIN}builder\ndave@receiver.example:{PLAIN}diver\n"
    )


def test_the_name_server_has_mx_a_and_ptr_of_everything() -> None:
    lines = textbook("dns", "/etc/dnsmasq.conf").splitlines()
    planned = plan(TEXTBOOK, "lab")
    mail = {node.domain for node in TEXTBOOK.nodes.values() if isinstance(node, MailServer)}
    assert [line for line in lines if line.startswith("mx-host=")] == [
        f"mx-host={domain},mail.{domain},10" for domain in sorted(mail, reverse=True)
    ]
    names = dict(re.findall(r"^host-record=(.+),(.+)$", "\n".join(lines), re.MULTILINE))
    assert {planned.site.hostname(node) for node in TEXTBOOK.nodes} <= set(names)
    addresses = {str(i.address.ip) for node in planned.nodes.values() for i in node.interfaces}
    assert set(names.values()) == addresses
    pointers = dict(re.findall(r"^ptr-record=(.+),(.+)$", "\n".join(lines), re.MULTILINE))
    assert set(pointers) == {IPv4Address(address).reverse_pointer for address in addresses}
    assert all(IPv4Address(names[name]).reverse_pointer == p for p, name in pointers.items())


def test_the_settings_of_somebody_are_theirs_alone_and_have_their_account() -> None:
    found = files(plan(TEXTBOOK, "lab"), "receiver-pc")
    for uid, login, password in ((1001, "bob", "builder"), (1002, "dave", "diver")):
        address = f"{login}@receiver.example"
        for name in (".muttrc", ".swaksrc", ".netrc"):
            file = found[f"/home/{login}/{name}"]
            assert (file.owner, file.mode) == (uid, 0o600)
        mutt = muttrc(found[f"/home/{login}/.muttrc"].content)
        assert (mutt["from"], mutt["imap_user"], mutt["imap_pass"]) == (address, address, password)
        assert mutt["smtp_url"] == f"smtp://{login}%40receiver.example@mail.receiver.example:587/"
        swaks = found[f"/home/{login}/.swaksrc"].content.splitlines()
        assert {f"--from {address}", f"--auth-password {password}", "--port 587"} <= set(swaks)
        assert found[f"/home/{login}/.netrc"].content == (
            f"machine mail.receiver.example login {address} password {password}\n"
        )
    assert found["/lab/accounts"].content == (
        "bob:x:1001:1001:Bob:/home/bob:/bin/bash\ndave:x:1002:1002:Dave:/home/dave:/bin/bash\n"
    )


@given(NAMES)
def test_any_name_is_shown_by_mutt_as_it_is_written(name: str) -> None:
    assert muttrc(alices(name=name)["/home/alice/.muttrc"])["realname"] == name


@given(NAMES)
def test_no_name_adds_a_field_or_an_account(name: str) -> None:
    account = alices(name=name)["/lab/accounts"]
    assert account.count("\n") == 1
    *account, home, shell = account.rstrip("\n").split(":")
    assert account[:4] == ["alice", "x", "1001", "1001"]
    assert (home, shell, len(account)) == ("/home/alice", "/bin/bash", 5)
    # A comma ends a part of the field, and the machine's `echo` makes a line break of \\n.
    assert not set(account[4]) & set(",\\")


def test_a_name_keeps_what_does_no_harm() -> None:
    account = alices(name="Zoë O'Neill: \\nroot, 홍길동")["/lab/accounts"]
    assert account.split(":")[4] == "Zoë O'Neill   nroot  홍길동"


def test_somebody_without_a_name_is_called_by_their_login() -> None:
    found = alices()
    assert muttrc(found["/home/alice/.muttrc"])["realname"] == "alice"
    assert found["/lab/accounts"].split(":")[4] == "alice"


@given(password=PASSWORDS)
def test_every_password_is_read_back_by_every_program(
    password: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    found = alices(password)
    mutt = muttrc(found["/home/alice/.muttrc"])
    assert mutt["imap_pass"] == mutt["smtp_pass"] == password
    # swaks takes what begins with a hyphen for an option, and <> for no password at all.
    swaks = dict(line.split(" ", 1) for line in found["/home/alice/.swaksrc"].splitlines())
    assert swaks["--auth-password"] == password
    assert password[0] not in "-#<"
    file: Path = tmp_path_factory.getbasetemp() / "netrc"
    file.write_text(found["/home/alice/.netrc"], encoding="utf-8")
    entry = netrc.netrc(file).authenticators("mail.sender.example")
    assert entry == ("alice@sender.example", "", password)
    assert found["/etc/dovecot/users"].rstrip("\n").split(":") == [
        "alice@sender.example",
        "{PLAIN}" + password,
    ]


@pytest.mark.parametrize(
    "password",
    ["", " ", "two words", "tab\there", "a:b", 'a"b', "a'b", "a`id`", "a\\b", "$HOME", "a${HOME}",
     "-x", "--help", "#hash", "<>", "pässword", "비밀", "line\nbreak", "end\n"],
)  # fmt: skip
def test_a_password_that_some_program_would_misread_is_refused(password: str) -> None:
    with pytest.raises(ValidationError):
        User(password=password)
