/* Keys and keyrings: add_key(2), request_key(2), keyctl(2), as pam_keyinit, systemd and keyutils use them. */
#include "check.h"
#include <linux/keyctl.h>

#define add(type, name, data, size, ring) syscall(SYS_add_key, type, name, data, size, ring)
#define ctl(...) syscall(SYS_keyctl, __VA_ARGS__)

static void describe(const char *what, int id)
{
    char text[200];
    memset(text, 0, sizeof text);
    long n = ctl(KEYCTL_DESCRIBE, id, text, sizeof text);
    if (n < 0) {
        say("%s: %s", what, strerrorname_np(errno));
        return;
    }
    /* Without the user's number. */
    int uid, gid, skip = 0;
    char type[20], rest[100];
    sscanf(text, "%19[^;];%d;%d;%n", type, &uid, &gid, &skip);
    snprintf(rest, sizeof rest, "%s", text + skip);
    say("%s: %s, mine %d, %s", what, type, uid == (int)getuid() && gid == (int)getgid(), rest);
}

static void contents(const char *what, int id)
{
    char data[64];
    memset(data, '-', sizeof data);
    long n = ctl(KEYCTL_READ, id, data, sizeof data);
    if (n < 0)
        say("%s: %s", what, strerrorname_np(errno));
    else
        say("%s: %ld bytes, \"%.*s\"", what, n, (int)n, data);
}

static void others(int key, int ring)
{
    SHOW(ctl(KEYCTL_READ, key, NULL, 0));
    SHOW(ctl(KEYCTL_CHOWN, key, 0, -1));
    SHOW(ctl(KEYCTL_SETPERM, key, 0x3f3f0000));
    SHOW(ctl(KEYCTL_UPDATE, key, "x", 1));
    SHOW(ctl(KEYCTL_LINK, key, KEY_SPEC_PROCESS_KEYRING));
    SHOW(ctl(KEYCTL_CLEAR, ring));
}

int main(void)
{
    if (ctl(KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno == EDQUOT) {
        say("too many keys of this user");
        return 0;
    }
    int session = ctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0);
    describe("session", session);
    SHOW(ctl(KEYCTL_READ, session, NULL, 0));
    int key = MUST(add("user", "cofferdam:a", "secret", 6, KEY_SPEC_SESSION_KEYRING));
    describe("key", key);
    contents("key", key);
    SHOW(ctl(KEYCTL_READ, session, NULL, 0));
    int first = 0;
    SHOW(ctl(KEYCTL_READ, session, &first, 4));
    SHOW(first == key);
    char small[3] = "--";
    SHOW(ctl(KEYCTL_READ, key, small, 2));
    SHOW(small[0]);
    SHOW(add("user", "cofferdam:a", "other", 5, KEY_SPEC_SESSION_KEYRING) == key);
    contents("the same key", key);
    SHOW(ctl(KEYCTL_UPDATE, key, "updated", 7));
    contents("updated", key);
    SHOW(ctl(KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", "cofferdam:a", 0) == key);
    SHOW(ctl(KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", "cofferdam:none", 0));
    SHOW(ctl(KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "logon", "cofferdam:a", 0));
    SHOW(syscall(SYS_request_key, "user", "cofferdam:a", NULL, 0) == key);
    SHOW(syscall(SYS_request_key, "user", "cofferdam:none", NULL, 0));

    say("-- wrong");
    SHOW(add("user", "cofferdam:b", NULL, 0, KEY_SPEC_SESSION_KEYRING));
    SHOW(add("user", "cofferdam:b", NULL, 5, KEY_SPEC_SESSION_KEYRING));
    SHOW(add("user", "cofferdam:b", "x", 1 << 20, KEY_SPEC_SESSION_KEYRING));
    SHOW(add("user", NULL, "x", 1, KEY_SPEC_SESSION_KEYRING));
    SHOW(add("user", "cofferdam:b", "x", 1, key));
    SHOW(add("user", "cofferdam:b", "x", 1, 0));
    SHOW(add("no-such-type", "cofferdam:b", "x", 1, KEY_SPEC_SESSION_KEYRING));
    SHOW(add(".hidden", "cofferdam:b", "x", 1, KEY_SPEC_SESSION_KEYRING));
    SHOW(add("", "cofferdam:b", "x", 1, KEY_SPEC_SESSION_KEYRING));
    SHOW(add("logon", "without", "x", 1, KEY_SPEC_SESSION_KEYRING));
    SHOW(add("keyring", ".hidden", NULL, 0, KEY_SPEC_SESSION_KEYRING));
    SHOW(add("keyring", "payload", "x", 1, KEY_SPEC_SESSION_KEYRING));
    SHOW(ctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_THREAD_KEYRING, 0));
    SHOW(ctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_GROUP_KEYRING, 0));
    SHOW(ctl(KEYCTL_GET_KEYRING_ID, -99, 0));
    SHOW(ctl(KEYCTL_SETPERM, key, 0x80000000));
    SHOW(ctl(KEYCTL_CLEAR, key));
    SHOW(ctl(KEYCTL_UPDATE, session, "x", 1));
    SHOW(ctl(KEYCTL_JOIN_SESSION_KEYRING, ".hidden"));
    SHOW(ctl(1234, 0));

    say("-- types and rights");
    int logon = MUST(add("logon", "cofferdam:login", "x", 1, KEY_SPEC_SESSION_KEYRING));
    describe("logon", logon);
    contents("logon", logon);
    int ring = MUST(add("keyring", "cofferdam:ring", NULL, 0, KEY_SPEC_PROCESS_KEYRING));
    describe("ring", ring);
    describe("process", ctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_PROCESS_KEYRING, 0));
    describe("thread", ctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_THREAD_KEYRING, 1));
    SHOW(ctl(KEYCTL_LINK, key, ring));
    SHOW(ctl(KEYCTL_LINK, key, ring));
    SHOW(ctl(KEYCTL_READ, ring, NULL, 0));
    SHOW(ctl(KEYCTL_LINK, ring, ring));
    SHOW(ctl(KEYCTL_UNLINK, logon, ring));
    SHOW(ctl(KEYCTL_UNLINK, key, ring));
    SHOW(ctl(KEYCTL_UNLINK, key, ring));
    SHOW(ctl(KEYCTL_SETPERM, key, 0x29010000));
    contents("found", key);
    SHOW(ctl(KEYCTL_UPDATE, key, "x", 1));
    SHOW(ctl(KEYCTL_SETPERM, key, 0x3f3f0000));
    describe("key", key);

    say("-- inheritance");
    fflush(stdout);
    pid_t child = MUST(fork());
    if (child == 0) {
        SHOW(ctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0) == session);
        SHOW(ctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_PROCESS_KEYRING, 0));
        SHOW(ctl(KEYCTL_JOIN_SESSION_KEYRING, NULL) != session);
        SHOW(ctl(KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", "cofferdam:a", 0));
        _exit(0);
    }
    MUST(waitpid(child, NULL, 0));
    SHOW(ctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0) == session);
    if (geteuid() == 0) {
        fflush(stdout);
        child = MUST(fork());
        if (child == 0) {
            /* A stranger with a session of its own. */
            MUST(ctl(KEYCTL_JOIN_SESSION_KEYRING, NULL));
            MUST(setresgid(1000000 + getpid(), 1000000 + getpid(), 1000000 + getpid()));
            MUST(setresuid(1000000 + getpid(), 1000000 + getpid(), 1000000 + getpid()));
            others(key, ring);
            _exit(0);
        }
        MUST(waitpid(child, NULL, 0));
    }

    say("-- ends");
    SHOW(ctl(KEYCTL_SET_TIMEOUT, key, 1));
    contents("still", key);
    pause_ms(1200);
    contents("expired", key);
    SHOW(ctl(KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", "cofferdam:a", 0));
    SHOW(ctl(KEYCTL_REVOKE, logon));
    describe("revoked", logon);
    SHOW(ctl(KEYCTL_INVALIDATE, ring));
    SHOW(ctl(KEYCTL_CLEAR, KEY_SPEC_SESSION_KEYRING));
    SHOW(ctl(KEYCTL_READ, session, NULL, 0));
    SHOW(ctl(KEYCTL_SET_REQKEY_KEYRING, KEY_REQKEY_DEFL_SESSION_KEYRING));
    SHOW(ctl(KEYCTL_SET_REQKEY_KEYRING, KEY_REQKEY_DEFL_NO_CHANGE));
    SHOW(ctl(KEYCTL_SET_REQKEY_KEYRING, 99));
    return 0;
}
